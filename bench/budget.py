"""What is the Dice after a budget of wall time? By the commands that a user types.

Cases of four folds are trained on by `medseg train --budget`, those of the fifth are predicted by
`medseg predict` and scored. Nobody else should use the machine meanwhile: the budget is wall time.
Where that cannot be had, `--busy-cores` gives training a clock of processor time
(peers/core_clock.py): a training keeps 1.87 of two cores busy.

    python bench/budget.py ../shared/data/Task04_Hippocampus --minutes 15 --fold 4
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medseg.dataset.description import DatasetDescription, save_description
from medseg.dataset.folds import foreground_ml, make_folds
from medseg.dataset.importers import open_dataset
from medseg.training.probe import processor_name
from peers.unseen import Unseen, score

RESAMPLES = 10_000


def medseg(*words: object, busy_cores: float | None = None) -> float:
    """Run a command; its wall seconds."""
    program = ["-m", "medseg"]
    if busy_cores is not None:
        program = [str(Path(__file__).parent / "peers" / "core_clock.py"), str(busy_cores)]
    command = [sys.executable, *program, *map(str, words)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - begin


def with_interval(values: Sequence[float]) -> str:
    """Mean and 95 % bootstrap over cases."""
    numbers = np.asarray(values)
    drawn = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.percentile(numbers[drawn].mean(axis=1), (2.5, 97.5))
    return f"{numbers.mean():.4f} ({low:.4f} to {high:.4f})"


def train(
    described: DatasetDescription,
    unseen: Sequence[str],
    minutes: float,
    out: Path,
    busy_cores: float | None,
) -> None:
    """Train on all other cases and predict the unseen ones, without and with mirrors."""
    kept = tuple(case for case in described.cases if case.id not in set(unseen))
    folder = out / "described"
    save_description(described.model_copy(update={"cases": kept, "unlabelled": ()}), folder)
    words = ("train", folder, "--out", out / "run", "--budget", f"{60 * minutes:g}s")
    seconds = medseg(*words, busy_cores=busy_cores)
    facts = json.loads((out / "run" / "bundle" / "bundle.json").read_text())["provenance"]
    print(f"{minutes:g} min: ended after {seconds:.1f} s, {facts['steps']} steps", flush=True)
    images = [path for name in unseen for path in described.case(name).images]
    for mirrors in ((), ("--tta",)):
        masks = out / f"masks{''.join(mirrors)}"
        medseg("predict", *images, "--model", out / "run" / "bundle", "--out", masks, *mirrors)


def line(minutes: float, mirrors: str, found: Unseen) -> str:
    parts = [f"{np.mean(values):.4f}" for values in found.dice.values()]
    mean = with_interval(found.mean_of_cases)
    hd95 = f"{np.mean(found.hd95_mm):.2f}" if found.hd95_mm else "-"
    return f"| {minutes:g} | {mirrors or '-'} | {' | '.join(parts)} | {mean} | {hd95} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 15.0, 60.0])
    parser.add_argument("--fold", type=int, choices=range(5), default=4, help="the unseen cases")
    parser.add_argument("--busy-cores", type=float, help="the clock is processor time / this")
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    described = open_dataset(options.dataset)
    folds = make_folds(described, strata=foreground_ml(described))
    unseen = folds.validation[options.fold]
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}, medseg {version('medseg')}; {described.name}, "
        f"{len(described.cases) - len(unseen)} cases to learn from, {len(unseen)} unseen\n"
    )
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for minutes in options.minutes:
            out = (options.out or Path(temporary)) / f"{minutes:g}"
            out.mkdir(parents=True)
            train(described, unseen, minutes, out, options.busy_cores)
            for mirrors in ("", "--tta"):
                found = score(described, unseen, out / f"masks{mirrors}")
                rows.append(line(minutes, mirrors, found))
    names = [label.name for label in described.labels]
    head = ["minutes", "mirrors", *names, "mean Dice (95 %)", "HD95, mm"]
    print(f"\n| {' | '.join(head)} |\n|--:|---{'|--:' * (len(head) - 2)}|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
