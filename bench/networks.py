"""Every kind of network on the same cases, for the same CPU seconds, with the same augmentation.

`medseg` plans each kind for the budget as it would for a user; augmentation and loss are those of
the plain U-Net's plan for all. Each seed draws its own unseen cases, the same for all kinds, and
the weights to begin with. Nothing is tuned for any of them. Trainings that are done are kept in
--out, so an interrupted table goes on where it was.

    python bench/networks.py ../shared/data/Task04_Hippocampus --out nets --jobs 2
    python bench/networks.py ../shared/data/nuclei_2d --config 2d --unseen 6 --out nets2d

Weights, patch and batch are the plan's. Steps, seconds per step, Dice and HD95 are measured over
all seeds; the interval is a bootstrap over unseen cases, a case that several seeds drew counting
once. A difference is to the plain U-Net on the same cases of the same seeds. Latency is the median
CPU time of a forward pass of one patch of the plan, one thread, fp32; beside it the CPU seconds of
predicting a case; memory the largest of the training process.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from medseg.dataset.cost import parameter_count
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.importers import open_dataset
from medseg.dataset.plan import Plan, load_plan, make_plan, save_plan
from medseg.errors import PlanError
from medseg.networks import build, names
from medseg.specs import Budget
from medseg.training.probe import probe_machine, processor_name
from peers.unseen import Unseen, score, write_split

HERE = Path(__file__).parent
REFERENCE = "plain_unet"
RESAMPLES = 10_000
PASSES = 9

Config = Literal["auto", "2d", "3d_full"]


@dataclass(frozen=True)
class Training:
    """One network trained once.

    Attributes:
        arch: Kind of network.
        seed: Of the split and of the weights.
        steps: Steps of the optimizer.
        step_seconds: CPU seconds of a step, over all that follow the first line of the log.
        case_seconds: CPU seconds of predicting an unseen case, without mirrors.
        memory_gb: Largest resident memory of the process.
        precision: What it was trained in.
        unseen: What its predictions are worth.
    """

    arch: str
    seed: int
    steps: int
    step_seconds: float
    case_seconds: float
    memory_gb: float
    precision: str
    unseen: Unseen


def keep_settings(options: argparse.Namespace) -> None:
    """Refuse to go on in a folder that holds trainings of other settings."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "settings.json"
    settings = [options.dataset.name, options.seconds, options.config, options.unseen]
    if path.exists() and json.loads(path.read_text()) != settings:
        sys.exit(f"{options.out} holds trainings of other settings: choose another --out.")
    path.write_text(json.dumps(settings))


def write_plans(dataset: Path, out: Path, seconds: float, config: Config) -> dict[str, Plan]:
    """A plan for each kind of network; one that cannot be planned is said and left out."""
    torch.set_num_threads(1)
    time.perf_counter = time.process_time  # what neighbours take makes the machine no slower
    machine = probe_machine("cpu")
    budget = Budget(
        seconds=seconds,
        memory_bytes=machine.memory_bytes,
        cores=1,
        gflops=round(machine.gflops, 1),
    )
    fingerprint = take_fingerprint(open_dataset(dataset), workers=1)
    common = make_plan(fingerprint, budget, config=config, arch=REFERENCE)
    shared = {"augment": common.augment, "loss": common.loss}
    plans: dict[str, Plan] = {}
    for arch in names():
        path = out / "plans" / f"{arch}.json"
        if not path.exists():
            try:
                plan = make_plan(fingerprint, budget, config=config, arch=arch)
            except PlanError as error:
                print(f"{arch} is left out: {error}", file=sys.stderr)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            save_plan(plan.model_copy(update=shared), path)
        plans[arch] = load_plan(path)
    return plans


def train(dataset: Path, out: Path, arch: str, seed: int, seconds: float) -> Training | None:
    """Train and predict in a process of its own; None if that failed."""
    folder = out / f"{arch}_{seed}"
    if not (folder / "training.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, HERE / "peers" / "train_cpu.py", dataset, folder, f"{seconds:g}"]
        words += ["--plan", out / "plans" / f"{arch}.json", "--split", out / f"split_{seed}.json"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(
                list(map(str, words)), stdout=log, stderr=log, env=environment
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            print(f"{arch}, seed {seed} failed: {folder / 'log.txt'}", file=sys.stderr)
            return None
        (folder / "training.json").write_text(json.dumps({"memory_gb": usage.ru_maxrss / 2**20}))
    return read_training(dataset, out, arch, seed)


def read_training(dataset: Path, out: Path, arch: str, seed: int) -> Training:
    """What a training left in its folder."""
    folder = out / f"{arch}_{seed}"
    described = open_dataset(dataset)
    split = json.loads((out / f"split_{seed}.json").read_text())
    rows = [line.split(",") for line in (folder / "run" / "log.csv").read_text().splitlines()]
    step, seconds = rows[0].index("step"), rows[0].index("seconds")
    first, last = rows[1], rows[-1]
    unseen = [case["id"] for case in split["unseen"]]
    record = json.loads((folder / "record.json").read_text())
    return Training(
        arch=arch,
        seed=seed,
        steps=int(last[step]),
        step_seconds=(float(last[seconds]) - float(first[seconds]))
        / max(1, int(last[step]) - int(first[step])),
        precision=json.loads((folder / "run" / "run.json").read_text())["precision"],
        case_seconds=record["predict"] / len(unseen),
        unseen=score(described, unseen, folder / "predictions"),
        **json.loads((folder / "training.json").read_text()),
    )


def latency_ms(plan: Plan) -> float:
    """Median CPU time of a forward pass of one patch."""
    network = build(plan.network).eval()
    image = torch.randn(1, plan.network.in_channels, *plan.patch_size[: plan.network.dims])
    took = []
    with torch.inference_mode():
        for _ in range(PASSES):
            begin = time.process_time()
            network(image)
            took.append(time.process_time() - begin)
    return 1e3 * float(np.median(took[1:]))


def by_case(trainings: list[Training]) -> dict[tuple[int, str], float]:
    """Mean Dice over the structures, by seed and case."""
    return {
        (one.seed, case): dice
        for one in trainings
        for case, dice in zip(one.unseen.cases, one.unseen.mean_of_cases, strict=True)
    }


def interval(values: dict[tuple[int, str], float]) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap over cases; a case that several seeds drew is drawn as one."""
    cases = sorted({case for _, case in values})
    grouped = [[v for (_, name), v in values.items() if name == case] for case in cases]
    sums = np.array([[sum(group), len(group)] for group in grouped])
    drawn = np.random.default_rng(0).integers(len(cases), size=(RESAMPLES, len(cases)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (2.5, 97.5))
    return float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)


def line(plan: Plan, mine: list[Training], reference: list[Training], latency: float) -> str:
    """A network as a line of the table."""
    dice, ours = by_case(mine), by_case(reference)
    mean, low, high = interval(dice)
    apart = {key: dice[key] - ours[key] for key in dice if key in ours}
    difference = "-"
    if apart and mine[0].arch != REFERENCE:
        difference = "{:+.4f} ({:+.4f} to {:+.4f})".format(*interval(apart))
    seeds = ", ".join(f"{np.mean(one.unseen.mean_of_cases):.4f}" for one in mine)
    hd95 = [value for one in mine for value in one.unseen.hd95_mm]
    patch = "x".join(map(str, plan.patch_size[: plan.network.dims]))
    return (
        f"| {mine[0].arch} | {parameter_count(plan.network):,} | {patch}, {plan.recipe.batch_size} "
        f"| {np.mean([one.steps for one in mine]):.0f} "
        f"| {np.mean([one.step_seconds for one in mine]):.3f}, {mine[0].precision} "
        f"| {mean:.4f} ({low:.4f} to {high:.4f}) | {seeds} | {difference} "
        f"| {np.mean(hd95) if hd95 else float('nan'):.2f} | {latency:.1f} "
        f"| {np.mean([one.case_seconds for one in mine]):.2f} "
        f"| {max(one.memory_gb for one in mine):.2f} |"
    )


HEADER = (
    "network", "weights", "patch, batch", "steps", "s a step", "Dice (95 %)", "by seed",
    "to plain_unet", "HD95, mm", "latency, ms", "s a case", "memory, GB",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", choices=("auto", "2d", "3d_full"), default="auto")
    parser.add_argument("--unseen", type=int, default=36, help="cases that nobody trains on")
    parser.add_argument("--arch", nargs="+", choices=names(), default=names())
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, a thread each")
    parser.add_argument("--out", type=Path, required=True, help="folder to keep")
    options = parser.parse_args()
    keep_settings(options)
    described = open_dataset(options.dataset)
    for seed in options.seeds:
        write_split(described, options.unseen, seed, options.out / f"split_{seed}.json")
    plans = write_plans(options.dataset, options.out, options.seconds, options.config)
    races = [(arch, seed) for seed in options.seeds for arch in options.arch if arch in plans]
    said = threading.Lock()

    def race(one: tuple[str, int]) -> Training | None:
        training = train(options.dataset, options.out, *one, options.seconds)
        with said:
            if training is not None:
                dice = np.mean(training.unseen.mean_of_cases)
                print(f"{one[0]}, seed {one[1]}: {dice:.4f}", file=sys.stderr, flush=True)
        return training

    with ThreadPoolExecutor(options.jobs) as pool:
        trainings = [one for one in pool.map(race, races) if one is not None]
    report(options, plans, trainings)


def report(options: argparse.Namespace, plans: dict[str, Plan], trainings: list[Training]) -> None:
    """Print the table, best Dice first, and keep it with its numbers."""
    reference = [one for one in trainings if one.arch == REFERENCE]
    grouped = {arch: [one for one in trainings if one.arch == arch] for arch in options.arch}
    done = {arch: mine for arch, mine in grouped.items() if mine}
    best = sorted(done, key=lambda arch: -interval(by_case(done[arch]))[0])
    latencies = {arch: latency_ms(plans[arch]) for arch in best}
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, {options.jobs} trainings at a time, "
        f"one thread each, Python {platform.python_version()}, torch {version('torch')}, "
        f"medseg {version('medseg')}; {options.dataset.name}, "
        f"{options.seconds:g} CPU s a training, "
        f"seeds {', '.join(map(str, options.seeds))}, {options.unseen} unseen cases each"
    )
    rows = [line(plans[arch], done[arch], reference, latencies[arch]) for arch in best]
    head = f"| {' | '.join(HEADER)} |\n|---{'|--:' * (len(HEADER) - 1)}|"
    table = "\n".join([head, *rows])
    print(f"{where}\n\n{table}")
    (options.out / "networks.md").write_text(f"{where}\n\n{table}\n")
    numbers = [asdict(one) for one in trainings]
    record = {"where": where, "trainings": numbers, "latency_ms": latencies}
    (options.out / "networks.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
