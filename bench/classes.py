"""Does memory grow with the number of classes? Predict 256x256x200 voxels with 3, 9 and 106.

Bundles with random weights that differ only in the number of classes segment the same volume, each
in a process of its own through `medseg predict`; printed is the largest resident memory of that
process. Loops are compiled before, on a small volume. From nine classes on, eight of them have a
slot in each voxel, and loops are compiled. Target: 106 classes within 1.3 times of 3.

    python bench/classes.py [--patch 96 64] [--width 16 32] [--overlap 0.5]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from medseg.bundle import Bundle, Provenance, save_bundle
from medseg.dataset.description import Channel
from medseg.dataset.plan import ClipAndScale, Plan
from medseg.networks import build
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.types import GridSize
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import Volume

SIZE = (256, 256, 200)
SPACING_MM = (1.5, 1.5, 1.5)


def random_bundle(classes: int, patch: int, width: int, overlap: float) -> Bundle:
    """nnU-Net's topology for this patch, untrained."""
    stages = 5
    network = PlainUNetSpec(
        dims=3,
        in_channels=1,
        classes=classes,
        features=tuple(min(width * 2**n, 320) for n in range(stages)),
        kernels=((3, 3, 3),) * stages,
        strides=((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        encoder_convs=(2,) * stages,
        decoder_convs=(2,) * (stages - 1),
    )
    plan = Plan(
        dataset=f"{classes} classes",
        config="3d_full",
        channels=(Channel(name="CT", modality="CT"),),
        labels=tuple(Label(value=n, name=f"organ {n}") for n in range(1, classes)),
        normalisations=(ClipAndScale(low=-1000, high=1000, mean=0, std=400),),
        orientation="RAS",
        spacing_mm=SPACING_MM,
        crop_to_nonzero=False,
        patch_size=(patch,) * 3,
        network=network,
        loss=LossSpec(),
        augment=AugmentSpec(),
        recipe=RecipeSpec(),
        window=WindowSpec(patch_size=(patch,) * 3, overlap=overlap),
        budget=Budget(seconds=1.0, memory_bytes=1 << 33, gflops=100.0),
        median_grid=SIZE,
    )
    torch.manual_seed(0)
    provenance = Provenance(
        medseg_version="", created="", data_name="random weights", data_hash="", seed=0
    )
    return Bundle(plan, provenance, (build(network).state_dict(),))


def random_scan(path: Path, size: GridSize) -> Path:
    rng = np.random.default_rng(0)
    array = rng.normal(0, 300, (1, *size)).astype(np.int16)
    write_volume(Volume(array, Geometry.from_spacing(SPACING_MM, size)), path)
    return path


def peak_mb(scan: Path, model: Path, out: Path) -> tuple[float, float]:
    """Largest resident memory and wall time of one `medseg predict`."""
    words = ["predict", str(scan), "--model", str(model), "--out", str(out), "--json"]
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "medseg", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"medseg predict ended with {status}")
    return usage.ru_maxrss / 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", type=int, nargs="+", default=[96, 64])
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--overlap", type=float, default=0.5)
    options = parser.parse_args()
    print(f"{' x '.join(map(str, SIZE))} voxels, overlap {options.overlap}")
    print("patch  width  classes  peak MB  seconds", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = random_scan(folder / "small.nii.gz", (32, 32, 32))
        scan = random_scan(folder / "scan.nii.gz", SIZE)
        for patch, width in product(options.patch, options.width):
            peaks = []
            for classes in (3, 9, 106):
                model = folder / f"{patch}-{width}-{classes}"
                save_bundle(random_bundle(classes, patch, width, options.overlap), model)
                peak_mb(small, model, folder / "compiled")
                peak, seconds = peak_mb(scan, model, folder / "out")
                peaks.append(peak)
                print(f"{patch:5} {width:6} {classes:8} {peak:8.0f} {seconds:8.1f}", flush=True)
            few, nine, many = peaks
            print(f"ratio to 3 {many / few:.2f} (target 1.3), to 9 {many / nine:.2f}", flush=True)


if __name__ == "__main__":
    main()
