"""Masks of a model of nnU-Net 2.8.1 against those of the bundle that medseg makes of it.

nnU-Net trains a narrow network for a short time (peers/nnunet_model.py), or --model names a model
that is there, or --bundle a bundle whose weights it is given (peers/nnunet_from_bundle.py); it
predicts cases that it has not seen with `nnUNetv2_predict_from_modelfolder`, and medseg
does the same with the bundle that `medseg import-nnunet` makes; both without mirrors, on a CPU. The
Dice between the two masks of each structure is printed, its mean and the lowest. Cases are shown

as stored      on their own grid
fine           on a grid of 0.7 x 0.8 x 0.9 mm: images shrink to the plan's, masks grow back
coarse         on a grid of 1.3 x 1.2 x 1.5 mm
thick          with slices of 4 mm along the third axis: resampled slice by slice
thick, middle  the same along the second axis

    python bench/nnunet_import.py ../shared/data/Task04_Hippocampus --nnunet-venv VENV
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medseg.bundle import load_bundle
from medseg.dataset.importers import open_dataset
from medseg.space.resample import grid_at_spacing, resample_volume
from medseg.training.probe import processor_name
from medseg.types import SpacingMm
from medseg.volume.io import read_label_map, read_volume, write_volume
from peers.nnunet_from_bundle import write_model
from peers.unseen import write_split

HERE = Path(__file__).parent
GOAL = 0.999
GRIDS_MM: dict[str, SpacingMm | None] = {
    "as stored": None,
    "fine": (0.7, 0.8, 0.9),
    "coarse": (1.3, 1.2, 1.5),
    "thick": (1.0, 1.0, 4.0),
    "thick, middle": (1.0, 4.0, 1.0),
}


def run(command: Sequence[object], log: Path) -> None:
    """Run a command on one thread."""
    words = [str(word) for word in command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for name in ("raw", "preprocessed", "results"):
        environment.setdefault(f"nnUNet_{name}", str(log.parent))
    with log.open("w") as file:
        done = subprocess.run(words, stdout=file, stderr=file, env=environment, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-15:])
        sys.exit(f"{' '.join(words)} failed:\n{tail}")


def trained(options: argparse.Namespace, out: Path, split: Path) -> Path:
    """The folder of nnU-Net's model."""
    if options.model is not None:
        return Path(options.model)
    if options.bundle is not None:
        return write_model(load_bundle(options.bundle), out / "nnunet", options.members)
    python = options.nnunet_venv / "bin" / "python"
    peer = HERE / "peers" / "nnunet_model.py"
    command = [python, peer, split, out / "nnunet", options.configuration, options.seconds]
    run(command, out / "train.log")
    return next((out / "nnunet" / "results").glob("*/*__*__*"))


def lay_cases(
    split: Path, spacing_mm: tuple[float, float, float] | None, folder: Path
) -> list[str]:
    """Unseen cases on a grid of this spacing, named as nnU-Net has it."""
    folder.mkdir(parents=True)
    ids = []
    for case in json.loads(split.read_text())["unseen"]:
        volume = read_volume(Path(case["image"]))
        if spacing_mm is not None:
            target = grid_at_spacing(volume.geometry, spacing_mm)
            volume = resample_volume(volume, target, interpolation="linear")
        write_volume(volume, folder / f"{case['id']}_0000.nii.gz")
        ids.append(case["id"])
    return ids


def compared(ids: Sequence[str], ours: Path, theirs: Path, values: Sequence[int]) -> list[float]:
    """Dice between two masks, of each case and structure that one of them has."""
    found = []
    for case in ids:
        masks = [read_label_map(folder / f"{case}.nii.gz").array for folder in (ours, theirs)]
        if masks[0].shape != masks[1].shape:
            sys.exit(f"Masks of {case} differ in shape: {masks[0].shape}, {masks[1].shape}.")
        for value in values:
            first, second = (mask == value for mask in masks)
            if first.any() or second.any():
                found.append(float(2 * (first & second).sum() / (first.sum() + second.sum())))
    return found


def measure(options: argparse.Namespace, out: Path) -> bool:
    """Print a table; whether every mean reaches the goal."""
    described = open_dataset(options.dataset)
    split = out / "split.json"
    write_split(described, options.unseen, 0, split)
    facts = json.loads(split.read_text())
    facts["training"] = facts["training"][: options.training]
    for case in facts["training"] + facts["unseen"]:
        case |= {key: str(Path(case[key]).resolve()) for key in ("image", "label")}
    split.write_text(json.dumps(facts))
    model = trained(options, out, split)
    medseg = [sys.executable, "-m", "medseg"]
    folds = sorted(path.name.removeprefix("fold_") for path in model.glob("fold_*"))
    bundle = out / "bundle"
    run([*medseg, "import-nnunet", model, "--out", bundle], out / "import.log")
    print(f"| {model.name}, folds {' '.join(folds)} | masks | mean Dice | lowest | voxels alike |")
    print("|---|--:|--:|--:|--:|", flush=True)
    reached = True
    for name in options.grids:
        place = out / name.replace(", ", "_").replace(" ", "_")
        ids = lay_cases(split, GRIDS_MM[name], place / "images")
        predict = options.nnunet_venv / "bin" / "nnUNetv2_predict_from_modelfolder"
        words = [predict, "-i", place / "images", "-o", place / "theirs", "-m", model, "-f", *folds]
        words += ["--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1"]
        run([*words, "--disable_progress_bar"], out / "theirs.log")
        predict_ours = [*medseg, "predict", place / "images", "--model", bundle]
        run([*predict_ours, "--out", place / "ours"], out / "ours.log")
        values = [label.value for label in described.labels]
        found = compared(ids, place / "ours", place / "theirs", values)
        alike = share_alike(ids, place / "ours", place / "theirs")
        row = f"| {name} | {len(found)} | {np.mean(found):.5f} | {min(found):.5f} | {alike:.6f} |"
        print(row, flush=True)
        reached &= float(np.mean(found)) >= GOAL
    return reached


def share_alike(ids: Sequence[str], ours: Path, theirs: Path) -> float:
    """Share of voxels in which the masks are the same."""
    same = total = 0
    for case in ids:
        first, second = (read_label_map(f / f"{case}.nii.gz").array for f in (ours, theirs))
        same, total = same + int((first == second).sum()), total + first.size
    return same / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--nnunet-venv", type=Path, required=True, help="where nnunetv2 is")
    parser.add_argument("--model", type=Path, help="a model that nnU-Net has trained already")
    parser.add_argument("--bundle", help="weights of this bundle of a plain_unet, not a training")
    parser.add_argument("--members", type=int, default=2, help="how many of its members are folds")
    parser.add_argument("--configuration", default="3d_fullres", choices=("2d", "3d_fullres"))
    parser.add_argument("--seconds", type=float, default=200.0, help="CPU seconds of training")
    parser.add_argument("--training", type=int, default=60, help="cases that it learns from")
    parser.add_argument("--unseen", type=int, default=20, help="cases that are predicted")
    parser.add_argument("--grids", nargs="+", choices=tuple(GRIDS_MM), default=tuple(GRIDS_MM))
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, Python {platform.python_version()}, "
        f"torch {version('torch')}, medseg {version('medseg')}, nnunetv2 2.8.1\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.out or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        if not measure(options, out):
            sys.exit(f"\nA mean lies below {GOAL}.")


if __name__ == "__main__":
    main()
