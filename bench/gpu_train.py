"""The full-length recipe of a data set on a GPU in one run: Dice by seconds, and how busy it is.

First `bench/train_step.py --device cuda`: seconds a step of medseg and of nnU-Net's own trainer
(eager, automatic mixed precision, its augmentation) on the same card, network, patch and batch.
Then `medseg train --epochs`, 1000 passes over the cases as nnU-Net's full length has them, on one
fold or on all; nvidia-smi is asked twice a second how busy the card is, from the first row of the
training's log to its last. It should be busy for more than 90 % of the time.

    python bench/gpu_train.py ../shared/data/Task04_Hippocampus --nnunet-python VENV/bin/python
    python bench/gpu_train.py --device cpu --smoke        # the same way on a few cases, in a minute
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean

from medseg.dataset.description import save_description
from medseg.dataset.importers import open_dataset

HERE = Path(__file__).parent
GOAL = 0.9
LOOK_SECONDS = 0.5
SMOKE_CASES = 8


class Utilisation:
    """How busy the first card is, asked again and again by a thread; nothing without nvidia-smi."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Utilisation":
        if shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def between(self, begin: float, end: float) -> float | None:
        """Mean share of busy time between two moments of the monotonic clock."""
        shares = [share for at, share in self._seen if begin <= at <= end]
        return mean(shares) if shares else None

    def _watch(self) -> None:
        words = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu"]
        words += ["--format=csv,noheader,nounits"]
        while not self._over.wait(LOOK_SECONDS):
            told = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
            if told.isdigit():
                self._seen.append((time.monotonic(), int(told) / 100))


def steps_table(options: argparse.Namespace, dataset: Path) -> None:
    """Seconds a step, by the script that measures them."""
    words = [sys.executable, HERE / "train_step.py", dataset, "--device", options.device]
    words += ["--batch", *(["2"] if options.smoke else ["2", "9"])]
    words += ["--patches", "6" if options.smoke else "400"]
    if options.smoke:
        words += ["--only", "+ bf16"]
    if options.nnunet_python:
        words += ["--nnunet-python", options.nnunet_python]
    subprocess.run([str(word) for word in words], check=True)


def smaller(dataset: Path, folder: Path) -> Path:
    """A data set of a few of its cases."""
    described = open_dataset(dataset)
    kept = described.cases[:SMOKE_CASES]
    save_description(described.model_copy(update={"cases": kept, "unlabelled": ()}), folder)
    return folder


def train(options: argparse.Namespace, dataset: Path, out: Path) -> tuple[float, float | None]:
    """Train; wall seconds, and how busy the card was while steps were taken."""
    words = [sys.executable, "-m", "medseg", "train", dataset, "--out", out, "--folds"]
    words += [options.folds, "--epochs", options.epochs, "--device", options.device]
    with Utilisation() as utilisation:
        begin = time.monotonic()
        done = subprocess.run([str(word) for word in words], check=False)
        end = time.monotonic()
    if done.returncode:
        sys.exit("The training failed.")
    seconds = [float(line["seconds"]) for line in rows(out)]
    return end - begin, utilisation.between(begin + min(seconds), begin + max(seconds))


def rows(out: Path) -> list[dict[str, str]]:
    """The log of a training."""
    with (out / "log.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def report(out: Path, wall: float, busy: float | None) -> None:
    """Dice against seconds, and the figures of the whole."""
    print("\n| fold | seconds | steps | Dice of the cases looked at |\n|--:|--:|--:|--:|")
    for line in rows(out):
        if line["validation_dice"]:
            dice = float(line["validation_dice"])
            print(
                f"| {line['fold']} | {float(line['seconds']):.0f} | {line['step']} | {dice:.4f} |"
            )
    metrics = json.loads((out / "metrics.json").read_text())
    step = metrics["training_seconds"] / metrics["steps"]
    told = ", ".join(f"{name} {value:.4f}" for name, value in metrics["dice"].items() if value)
    print(
        f"\n{wall:.0f} s in all, {metrics['training_seconds']:.0f} s of them on {metrics['steps']} "
        f"steps in {metrics['precision']}, {step:.4f} s a step, "
        f"{metrics['samples_per_second']:.1f} patches a second, on {metrics['device']}.\n"
        f"Dice on {metrics['measured_on']}: {told}."
    )
    if busy is None:
        print("No nvidia-smi: how busy the card was is not measured.")
    else:
        print(f"The card was busy for {busy:.0%} of the time; the goal is {GOAL:.0%}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--folds", default="0", help="0, 1, ... or all")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--nnunet-python", type=Path, help="interpreter that has nnunetv2")
    parser.add_argument("--smoke", action="store_true", help="few cases, one epoch, few steps")
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {len(os.sched_getaffinity(0))} cores, Python "
        f"{platform.python_version()}, torch {version('torch')}, medseg {version('medseg')}; "
        f"{options.dataset.name}\n",
        flush=True,
    )
    if options.smoke:
        options.epochs = 1
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.out or Path(temporary)).resolve()
        dataset = options.dataset.resolve()
        steps_table(options, dataset)
        if options.smoke:
            dataset = smaller(dataset, out / "described")
        report(out / "run", *train(options, dataset, out / "run"))


if __name__ == "__main__":
    main()
