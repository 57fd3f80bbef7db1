"""A volume through MONAI's sliding window, with the network of a bundle: run by volumes.py.

Reading, normalisation, windows, arg-max and writing as MONAI's users write them down; the image is
at the spacing of the plan and is normalised by its mean and deviation.

    python bench/peers/monai_window.py BUNDLE scan.nii.gz mask.nii.gz
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.inferers import sliding_window_inference

from medseg.bundle import build_members, load_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("scan", type=Path)
    parser.add_argument("mask", type=Path)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    network = build_members(bundle.configurations[0])[0].eval()
    scan = nib.load(options.scan)
    image = np.asarray(scan.dataobj, dtype=np.float32)
    image = (image - image.mean()) / image.std()
    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(image)[None, None],
            roi_size=bundle.plan.patch_size,
            sw_batch_size=1,
            predictor=network,
            overlap=0.5,
            mode="gaussian",
            sigma_scale=0.125,
        )
    mask = logits.argmax(1)[0].numpy().astype(np.uint8)
    options.mask.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask, scan.affine), options.mask)


if __name__ == "__main__":
    main()
