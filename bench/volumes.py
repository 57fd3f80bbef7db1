"""Whole volumes beside nnU-Net and MONAI: seconds from file to file, peak memory, and the masks.

    python bench/volumes.py whole --nnunet-venv VENV --model FOLDER
        256x256x200 voxels, one network in three programs, no mirrors, windows that overlap by half.
        FOLDER is a model that nnU-Net has trained (bench/nnunet_import.py leaves one with --out).
    python bench/volumes.py return [--nnunet-venv VENV]
        Logits of 106 classes on 160x160x120 voxels become a mask of 320x320x240.
    python bench/volumes.py ct [--memory 6g]
        512x512x600 voxels of CT at the spacing of the plan, 106 classes, within a bound.
    python bench/volumes.py cases [--nnunet-venv VENV --model FOLDER]
        60 hippocampus cases from NIfTI to NIfTI, start-up included.

Each program runs in processes of its own on one thread; seconds are wall and CPU time of all of
them, memory is the most that they held together.
"""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from scipy.ndimage import gaussian_filter

from classes import random_bundle, random_scan
from medseg.bundle import save_bundle
from medseg.types import AnyArray, FloatArray, GridSize
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, read_volume, write_volume
from medseg.volume.volume import Volume

HERE = Path(__file__).parent
MEDSEG = [sys.executable, "-m", "medseg"]
DATA = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
COARSE, FINE, CLASSES = (160, 160, 120), (320, 320, 240), 106


class Cost(NamedTuple):
    """What a command took: wall and CPU seconds, and the most memory of its processes, in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} | {self.cpu_seconds:.1f} | {self.peak_mb:.0f}"


def cost_of(command: Sequence[object], log: Path) -> Cost:
    """Run a command on one thread and watch it; what it says goes to a file."""
    words = [str(word) for word in command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment |= {
        f"nnUNet_{name}": str(log.parent) for name in ("raw", "preprocessed", "results")
    }
    before = os.times()
    start = time.perf_counter()
    with log.open("w") as file:
        child = psutil.Popen(words, stdout=file, stderr=file, env=environment)
        peak, done = [0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(child, peak, done))
        watcher.start()
        status = child.wait()
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
    after = os.times()
    if status:
        tail = "\n".join(log.read_text().splitlines()[-15:])
        sys.exit(f"{' '.join(words)} failed:\n{tail}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return Cost(seconds, cpu, peak[0] / 1e6)


def _watch(child: psutil.Process, peak: list[int], done: threading.Event) -> None:
    """Keep the largest sum of memory; pages that processes share count once each (PSS)."""
    while not done.wait(0.5):
        total = 0
        try:
            for process in (child, *child.children(recursive=True)):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
        peak[0] = max(peak[0], total)


def dice_of_masks(first: AnyArray, second: AnyArray) -> str:
    """Mean and lowest Dice of the values of the second mask, and the share of equal voxels."""
    scores = []
    for value in np.unique(second)[1:]:
        a, b = first == value, second == value
        scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return f"{np.mean(scores):.5f}, lowest {min(scores):.5f}; {(first == second).mean():.5%} alike"


def whole(options: argparse.Namespace, folder: Path) -> None:
    """One network in three programs."""
    images, bundle = folder / "images", folder / "bundle"
    scan = tiled_scan(images / "scan_0000.nii.gz", (256, 256, 200))
    cost_of([*MEDSEG, "import-nnunet", options.model, "--out", bundle, "--folds", options.fold],
            folder / "import.log")  # fmt: skip
    for precision in ("fp32", "int8"):
        export = [*MEDSEG, "export", bundle, "--to", "openvino", "--precision", precision]
        cost_of([*export, "--calibrate", DATA], folder / f"export_{precision}.log")
    small = tiled_scan(folder / "small" / "small.nii.gz", (48, 64, 48))
    ours = [*MEDSEG, "predict", "--model", bundle]
    monai = [sys.executable, HERE / "peers" / "monai_window.py", bundle]
    theirs = [options.nnunet_venv / "bin" / "nnUNetv2_predict_from_modelfolder",
              "-m", options.model, "-f", options.fold, "--disable_tta", "-device", "cpu",
              "-npp", "1", "-nps", "1", "--disable_progress_bar"]  # fmt: skip
    cost_of([*ours, small, "--out", folder / "warm", "--engine", "torch"], folder / "warm.log")
    costs, masks = {}, {}
    for engine, precision in (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")):
        name, out = f"medseg, {engine} {precision}", folder / f"{engine}_{precision}"
        words = [scan, "--out", out, "--engine", engine, "--precision", precision]
        costs[name] = cost_of([*ours, *words], folder / f"{out.name}.log")
        masks[name] = read_label_map(next(out.glob("*.nii.gz"))).array
    peers = {
        "MONAI sliding_window_inference": [*monai, scan, folder / "monai" / "scan.nii.gz"],
        "nnU-Net 2.8.1": [*theirs, "-i", images, "-o", folder / "nnunet"],
    }
    for name, command in peers.items():
        out = Path(command[-1])
        costs[name] = cost_of(command, folder / f"{name.split()[0]}.log")
        masks[name] = read_label_map(out if out.suffix == ".gz" else out / "scan.nii.gz").array
    print("| program | s | CPU s | peak MB | mask against nnU-Net's: Dice |\n|---|--:|--:|--:|---|")
    for name, cost in costs.items():
        print(f"| {name} | {cost} | {dice_of_masks(masks[name], masks['nnU-Net 2.8.1'])} |")


def tiled_scan(path: Path, size: GridSize) -> Path:
    """Scans of the hippocampus side by side, as many as it takes, at a spacing of 1 mm."""
    files = sorted((DATA / "imagesTr").glob("hippocampus_*.nii.gz"))
    array = np.zeros(size, np.float32)
    number, i = 0, 0
    while i < size[0]:
        deepest, j = 1, 0
        while j < size[1]:
            widest, k = 1, 0
            while k < size[2]:
                part = np.asarray(read_volume(files[number % len(files)]).array[0], np.float32)
                part = part[: size[0] - i, : size[1] - j, : size[2] - k] / part.std()
                a, b, c = part.shape
                array[i : i + a, j : j + b, k : k + c] = part
                deepest, widest = max(deepest, a), max(widest, b)
                k, number = k + c, number + 1
            j += widest
        i += deepest
    write_volume(Volume(array[None], Geometry.from_spacing((1.0, 1.0, 1.0), size)), path)
    return path


def returned(options: argparse.Namespace, folder: Path) -> None:
    """From the network's grid to that of a case, with many classes."""
    file = folder / "logits.bin"
    made_logits(file)
    rows = {"medseg": [sys.executable, HERE / "peers" / "return_medseg.py"]}
    if options.nnunet_venv:
        python = options.nnunet_venv / "bin" / "python"
        rows["nnU-Net 2.8.1"] = [python, HERE / "peers" / "nnunet_return.py"]
    print("| program | s | CPU s | peak MB |\n|---|--:|--:|--:|", flush=True)
    for n, (name, command) in enumerate(rows.items()):
        if n == 0:  # compiles the loops
            cost_of([*command, file, folder / "warm.npy", *(16, 160, 120)], folder / "warm.log")
        cost = cost_of([*command, file, folder / f"{n}.npy", *COARSE], folder / f"{n}.log")
        print(f"| {name} | {cost} |", flush=True)
    if options.nnunet_venv:
        print(f"Dice: {dice_of_masks(np.load(folder / '0.npy'), np.load(folder / '1.npy'))}")


def made_logits(file: Path) -> None:
    """Logits of cells around random points, plane by plane: float32 of shape (I, N, J, K)."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (CLASSES, 3)) * COARSE
    logits: FloatArray = np.empty((CLASSES, *COARSE), np.float32)
    at = [np.arange(n, dtype=np.float32) for n in COARSE]
    for n, point in enumerate(points):
        i, j, k = np.ix_(*((x - p) ** 2 for x, p in zip(at, point, strict=True)))
        noise = gaussian_filter(rng.standard_normal(COARSE, np.float32), 1.5)
        logits[n] = 16 * noise - 0.03 * (i + j + k)
    with file.open("wb") as stream:
        for i in range(COARSE[0]):
            stream.write(np.ascontiguousarray(logits[:, i]).tobytes())


def ct(options: argparse.Namespace, folder: Path) -> None:
    """A long CT, many classes, and a bound that is kept."""
    model = folder / "model"
    save_bundle(random_bundle(CLASSES, 96, 8, 0.0), model)
    scan = body_scan(folder / "ct.nii.gz", (512, 512, 600))
    small = random_scan(folder / "small.nii.gz", (32, 32, 32))
    ours = [*MEDSEG, "predict", "--model", model, "--memory", options.memory]
    cost_of([*ours, small, "--out", folder / "warm"], folder / "warm.log")
    cost = cost_of([*ours, scan, "--out", folder / "out"], folder / "ct.log")
    said = next(x for x in (folder / "ct.log").read_text().splitlines() if "Within" in x)
    print(f"{said}\n| s | CPU s | peak MB |\n|--:|--:|--:|\n| {cost} |")


def body_scan(path: Path, size: GridSize) -> Path:
    """A cylinder of noise in air, in Hounsfield units."""
    rng = np.random.default_rng(0)
    i, j = np.ix_(*(np.linspace(-1, 1, n) for n in size[:2]))
    inside = (i / 0.7) ** 2 + (j / 0.5) ** 2 < 1
    array = np.full((1, *size), -1024, np.int16)
    for k in range(size[2]):
        array[0, inside, k] = rng.normal(40, 60, int(inside.sum()))
    write_volume(Volume(array, Geometry.from_spacing((1.5, 1.5, 1.5), size)), path)
    return path


def cases(options: argparse.Namespace, folder: Path) -> None:
    """Many small cases."""
    images, model = folder / "images", "hippocampus-mr"
    images.mkdir()
    for path in sorted((DATA / "imagesTr").glob("hippocampus_*.nii.gz"))[-60:]:
        shutil.copy(path, images / path.name.replace(".nii.gz", "_0000.nii.gz"))
    rows: dict[str, list[object]] = {}
    if options.model:
        model = str(folder / "bundle")
        words = ["import-nnunet", options.model, "--out", model, "--folds", options.fold]
        cost_of([*MEDSEG, *words], folder / "import.log")
    ours = [*MEDSEG, "predict", images, "--model", model]
    rows["medseg, torch fp32"] = [*ours, "--out", folder / "ours", "--engine", "torch"]
    if options.model and options.nnunet_venv:
        theirs = options.nnunet_venv / "bin" / "nnUNetv2_predict_from_modelfolder"
        rows["nnU-Net 2.8.1"] = [theirs, "-m", options.model, "-f", options.fold, "-i", images,
                                 "-o", folder / "theirs", "--disable_tta", "-device", "cpu",
                                 "--disable_progress_bar"]  # fmt: skip
    print("| 60 cases | s | CPU s | peak MB |\n|---|--:|--:|--:|", flush=True)
    for n, (name, command) in enumerate(rows.items()):
        print(f"| {name} | {cost_of(command, folder / f'{n}.log')} |", flush=True)


PARTS = {"whole": whole, "return": returned, "ct": ct, "cases": cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--nnunet-venv", type=Path, help="where nnunetv2 is")
    parser.add_argument("--model", type=Path, help="a model that nnU-Net has trained")
    parser.add_argument("--fold", default="0", help="of that model")
    parser.add_argument("--memory", default="6g", help="what the prediction of a CT may take")
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    if options.part == "whole" and not (options.nnunet_venv and options.model):
        parser.error("whole needs --nnunet-venv and --model")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.out or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        PARTS[options.part](options, folder)


if __name__ == "__main__":
    main()
