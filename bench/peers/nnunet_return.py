"""Logits of many classes to the mask of a finer grid, as nnU-Net 2.8.1 does it: run by volumes.py.

VENV/bin/python bench/peers/nnunet_return.py logits.bin mask.npy 160 160 120
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

CLASSES = 106


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logits", type=Path, help="float32 of shape (I, N, J, K)")
    parser.add_argument("mask", type=Path)
    parser.add_argument("size", type=int, nargs=3)
    options = parser.parse_args()
    i, j, k = options.size
    planes = np.fromfile(options.logits, np.float32, i * CLASSES * j * k)
    logits = np.ascontiguousarray(planes.reshape(i, CLASSES, j, k).swapaxes(0, 1))
    del planes
    moved = resample_data_or_seg_to_shape(
        torch.from_numpy(logits), (2 * i, 2 * j, 2 * k), (2.0, 2.0, 2.0), (1.0, 1.0, 1.0),
        is_seg=False, order=1, order_z=0, force_separate_z=None,
    )  # fmt: skip
    mask = torch.as_tensor(moved).argmax(0)
    np.save(options.mask, mask.numpy().astype(np.uint8))


if __name__ == "__main__":
    main()
