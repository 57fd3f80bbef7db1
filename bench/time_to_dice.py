"""Dice on unseen cases against CPU seconds: medseg, a page of plain torch, and nnU-Net.

All learn from the same training cases of a folder of the Medical Segmentation Decathlon, on the
same cores, and are scored by medseg.metrics on the same unseen cases. A budget counts CPU seconds,
children included, so that a busy machine favours nobody:

medseg      `medseg train --budget` from its start to the written bundle, fingerprint, plan,
            preprocessing and validation on cases of its own among them; predicts without mirrors
prototype   peers/prototype.py from its start to the trained weights; predicts with one mirror
nnU-Net     peers/nnunet_peer.py: its own plan but batch 2, its rate taken to 0 at the end of the
            budget, and an allocator that keeps memory; the budget is training alone, fingerprint,
            plan and preprocessing come before it; predicts without mirrors

    taskset -c 0 python bench/time_to_dice.py ../shared/data/Task04_Hippocampus --seconds 120 240
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np

from medseg.dataset.importers import open_dataset
from medseg.training.probe import processor_name
from peers.unseen import score, write_split

HERE = Path(__file__).parent
PEERS = HERE / "peers"
CONTESTANTS = ("medseg", "prototype", "nnunet")
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


@dataclass(frozen=True)
class Result:
    """One training and what its predictions are worth.

    Attributes:
        who: The contestant.
        budget: CPU seconds that were asked for.
        prepare: CPU seconds before the budget began; 0 where the budget covers them.
        train: CPU seconds of the budget that were used.
        predict: CPU seconds for all unseen cases.
        steps: Steps of the optimizer.
        dice: Mean Dice of each structure over the unseen cases.
        hd95_mm: Mean 95th percentile of surface distances over cases and structures with both.
        processes: CPU seconds of the whole command and its children, as the kernel counts them.
    """

    who: str
    budget: float
    prepare: float
    train: float
    predict: float
    steps: int
    dice: dict[str, float]
    hd95_mm: float
    processes: float

    @property
    def mean(self) -> float:
        """Mean over the structures."""
        return float(np.mean(list(self.dice.values())))


def command_of(
    who: str, dataset: Path, split: Path, out: Path, budget: float, venv: Path | None
) -> list[str]:
    """The command line of one training."""
    seconds = f"{budget:g}"
    if who == "medseg":
        words = [sys.executable, PEERS / "train_cpu.py", dataset, out, seconds, "--split", split]
    elif who == "prototype":
        words = [sys.executable, PEERS / "prototype.py", split, out, seconds]
    else:
        words = [f"{venv}/bin/python", PEERS / "nnunet_peer.py", split, out, seconds]
    return [str(word) for word in words]


def run(command: Sequence[str], out: Path, threads: int, extra: dict[str, str]) -> float:
    """Run one training; the CPU seconds of it and its children."""
    if out.exists():
        sys.exit(f"{out} is there from another run: choose another --out.")
    out.mkdir(parents=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    before = getrusage(RUSAGE_CHILDREN)
    with (out / "log.txt").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, env=environment | extra, check=False)
    after = getrusage(RUSAGE_CHILDREN)
    if done.returncode:
        tail = "\n".join((out / "log.txt").read_text().splitlines()[-15:])
        sys.exit(f"{' '.join(command)} failed:\n{tail}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def contest(options: argparse.Namespace, out: Path) -> list[Result]:
    """Every contestant at every budget, one after another."""
    described = open_dataset(options.dataset)
    if any(len(case.images) > 1 for case in described.cases) or len(described.channels) > 1:
        sys.exit("The prototype takes one channel: choose a data set of one.")
    split = out / "split.json"
    write_split(described, options.unseen, options.seed, split)
    unseen = [case["id"] for case in json.loads(split.read_text())["unseen"]]
    results: list[Result] = []
    for who, budget in races(options):
        folder = out / f"{who}_{budget:g}"
        command = command_of(who, options.dataset, split, folder, budget, options.nnunet_venv)
        extra = KEEP_MEMORY if who == "nnunet" else {}
        processes = run(command, folder, options.threads, extra)
        record = json.loads((folder / "record.json").read_text())
        scores = score(described, unseen, folder / "predictions")
        result = Result(
            who=who,
            budget=budget,
            dice={name: float(np.mean(values)) for name, values in scores.dice.items()},
            hd95_mm=float(np.mean(scores.hd95_mm)) if scores.hd95_mm else 0.0,
            processes=processes,
            **record,
        )
        if not results:
            print(header(result), flush=True)
        print(line(result), flush=True)
        results.append(result)
    return results


def races(options: argparse.Namespace) -> list[tuple[str, float]]:
    """Who runs, and for how long; nnU-Net only where it is installed."""
    budgets = dict.fromkeys(options.who, options.seconds)
    if "nnunet" in budgets:
        budgets["nnunet"] = options.nnunet_seconds or options.seconds
        if options.nnunet_venv is None or not (options.nnunet_venv / "bin" / "python").exists():
            print(f"nnU-Net is left out: --nnunet-venv {options.nnunet_venv} is no environment.\n")
            del budgets["nnunet"]
    return [(who, budget) for who in budgets for budget in budgets[who]]


def header(result: Result) -> str:
    names = ("who", "budget, CPU s", "before it", "used", "steps", *result.dice)
    names = (*names, "mean Dice", "HD95, mm", "predict, CPU s")
    return f"| {' | '.join(names)} |\n|---{'|--:' * (len(names) - 1)}|"


def line(result: Result) -> str:
    dice = " | ".join(f"{value:.4f}" for value in (*result.dice.values(), result.mean))
    return (
        f"| {result.who} | {result.budget:g} | {result.prepare:.0f} | {result.train:.0f} | "
        f"{result.steps} | {dice} | {result.hd95_mm:.2f} | {result.predict:.0f} |"
    )


def surroundings(options: argparse.Namespace) -> str:
    """Where and when this was measured, in one line."""
    cases = f"{options.unseen} unseen cases of {options.dataset.name}, seed {options.seed}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, {cores} core(s), "
        f"{options.threads} thread(s), Python {platform.python_version()}, "
        f"torch {version('torch')}, medseg {version('medseg')}; {cases}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--seconds", type=float, nargs="+", default=[120.0, 240.0])
    parser.add_argument("--nnunet-seconds", type=float, nargs="+", help="other budgets for nnU-Net")
    parser.add_argument("--nnunet-venv", type=Path, help="virtual environment with nnunetv2")
    parser.add_argument("--who", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--unseen", type=int, default=36, help="cases that nobody trains on")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of all trainings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    where = surroundings(options)
    print(f"{where}\n")
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        results = contest(options, out.resolve())
    if options.out and results:
        table = "\n".join([header(results[0]), *map(line, results)])
        (out / "time_to_dice.md").write_text(f"{where}\n\n{table}\n")
        record = {"where": where, "results": [asdict(r) | {"mean": r.mean} for r in results]}
        (out / "time_to_dice.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
