"""What do 2d, 3d_full and both together reach in five-fold cross-validation, and in what time?

One `medseg train --config 2d,3d_full --folds all`: every case is predicted by the networks that did
not see it, and these masks are read from the disk and scored here. A run that was cut off goes on.

    python bench/accuracy.py ../shared/data/Task04_Hippocampus --budget 2h --out /somewhere/accuracy
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medseg.dataset.description import DatasetDescription
from medseg.dataset.importers import open_dataset
from medseg.metrics.paired import gain_of
from medseg.training.candidates import TOGETHER, candidates_of
from medseg.training.probe import processor_name
from medseg.training.run import RunFolder
from peers.unseen import Unseen, score


def train(dataset: Path, out: Path, configs: str, budget: str, arch: str) -> dict[str, Any]:
    """Train, or go on; what `metrics.json` says."""
    command = [sys.executable, "-m", "medseg", "train", str(dataset), "--out", str(out)]
    command += ["--config", configs, "--folds", "all", "--budget", budget, "--arch", arch]
    if out.is_dir():
        command.append("--resume")
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit("The training did not come to its end; the same command goes on with it.")
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def line(name: str, found: Unseen, single: Unseen | None) -> str:
    """A candidate's scores; for two together also the gain over the better one alone."""
    values = np.asarray(found.mean_of_cases)
    mean = gain_of(values)
    cells = [f"{np.mean(dice):.4f}" for dice in found.dice.values()]
    cells.append(f"{mean.mean:.4f} ({mean.ci_low:.4f} to {mean.ci_high:.4f})")
    cells.append(f"{np.mean(found.hd95_mm):.2f}")
    if single is None:
        cells.append("")
    else:
        gain = gain_of(values - np.asarray(single.mean_of_cases))
        cells.append(f"{gain.mean:+.4f} ({gain.ci_low:+.4f} to {gain.ci_high:+.4f})")
    return f"| {name} | {' | '.join(cells)} |"


def table(described: DatasetDescription, run: RunFolder, configs: list[str]) -> str:
    """Every candidate for the bundle, scored on all cases."""
    cases = [case.id for case in described.cases]
    candidates = candidates_of(configs)
    found = {name: score(described, cases, run.results(name).masks) for name in candidates}
    best = max(configs, key=lambda name: float(np.mean(found[name].mean_of_cases)))
    names = [label.name for label in described.labels]
    head = ["configuration", *names, "mean Dice (95 %)", "HD95, mm", f"gain over {best}"]
    rows = [
        line(name, found[name], found[best] if TOGETHER in name else None) for name in candidates
    ]
    return "\n".join([f"| {' | '.join(head)} |", f"|---{'|--:' * (len(head) - 1)}|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--budget", default="2h", help="of the whole command")
    parser.add_argument("--configs", default="2d,3d_full")
    parser.add_argument("--arch", default="plain_unet")
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    configs = options.configs.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary) / "run"
        metrics = train(options.dataset, out, options.configs, options.budget, options.arch)
        print(
            f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, "
            f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
            f"torch {version('torch')}, medseg {version('medseg')}; budget {options.budget}, "
            f"{metrics['seconds']:.0f} s, {metrics['training_seconds']:.0f} s of them training, "
            f"{metrics['steps']} steps of {len(metrics['folds'])} networks\n"
        )
        print(table(open_dataset(options.dataset), RunFolder(out), configs))
        if "choice" in metrics:
            print(f"\n{metrics['choice']['why']}")


if __name__ == "__main__":
    main()
