"""Muon against AdamW: one plan, one seed, the same CPU seconds; Dice on held-out cases.

Each training is `medseg train --plan`, with a budget that counts its own CPU time, so that a busy
machine costs nothing. Both hold out the same tenth of the cases. Beside the Dice at the end stand
the looks at four of those cases that the loop takes on its way.

    taskset -c 0 python bench/optimizers.py ../shared/data/Task04_Hippocampus --seconds 120
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.importers import open_dataset
from medseg.dataset.plan import Plan, make_plan, save_plan
from medseg.specs import Budget
from medseg.training.probe import probe_machine, processor_name

HERE = Path(__file__).parent
PEERS = HERE / "peers"
OPTIMIZERS = ("adamw", "muon")


def common_plan(dataset: Path, seconds: float, threads: int) -> Plan:
    """What medseg would plan here for this time."""
    torch.set_num_threads(threads)
    time.perf_counter = time.process_time  # what neighbours take makes the machine no slower
    machine = probe_machine("cpu")
    budget = Budget(
        seconds=seconds,
        memory_bytes=machine.memory_bytes,
        cores=machine.cores,
        gflops=round(machine.gflops, 1),
    )
    return make_plan(take_fingerprint(open_dataset(dataset), workers=machine.cores), budget)


def train(dataset: Path, plan: Plan, out: Path, seconds: float, seed: int, threads: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_plan(plan, out / "plan.json")
    words = [sys.executable, PEERS / "train_cpu.py", dataset, out, f"{seconds:g}"]
    words += ["--plan", out / "plan.json", "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{plan.recipe.optimizer} failed:\n{done.stderr}")


def row(name: str, seconds: float, seed: int, out: Path) -> str:
    """One training as a line of the table."""
    record = json.loads((out / "record.json").read_text())
    metrics = json.loads((out / "run" / "metrics.json").read_text())
    dice = " | ".join(
        "-" if value is None else f"{value:.4f}" for value in metrics["dice"].values()
    )
    looks = ", ".join(f"{dice:.3f} at {at:.0f} s" for at, dice in looked(out / "run" / "log.csv"))
    return (
        f"| {name} | {seconds:g} | {seed} | {record['train']:.0f} | {record['steps']} | "
        f"{dice} | {looks or '-'} |"
    )


def looked(log: Path) -> Iterator[tuple[float, float]]:
    """CPU seconds and Dice of each look that training took at held-out cases."""
    with log.open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            if line["validation_dice"]:
                yield float(line["seconds"]), float(line["validation_dice"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--seconds", type=float, nargs="+", default=[120.0, 240.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    labels = [label.name for label in open_dataset(options.dataset).labels]
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, {options.threads} thread(s), "
        f"torch {version('torch')}, medseg {version('medseg')}; {options.dataset.name}\n"
    )
    names = ["optimizer", "budget, CPU s", "seed", "used", "steps", *labels, "mean Dice", "looks"]
    print(f"| {' | '.join(names)} |\n|---{'|--:' * (len(names) - 2)}|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for seconds in options.seconds:
            plan = common_plan(options.dataset, seconds, options.threads)
            for seed in options.seeds:
                for name in OPTIMIZERS:
                    recipe = plan.recipe.model_copy(update={"optimizer": name})
                    chosen = plan.model_copy(update={"recipe": recipe})
                    out = (options.out or Path(temporary)) / f"{name}_{seconds:g}_{seed}"
                    train(options.dataset, chosen, out, seconds, seed, options.threads)
                    print(row(name, seconds, seed, out), flush=True)


if __name__ == "__main__":
    main()
