"""Which recipe learns most in a short time? One plan, the same CPU seconds, held-out cases.

All recipes learn from the same cases with the same network, patch and batch, planned by medseg for
the time. Only the training part of the first of five folds is used, so that cases which later judge
a recipe's models have no part in choosing it: of that part a fifth, another one for each seed, is
held out. A training lies in a folder of its own and is not repeated: the script goes on where it
ended. Mirrors that swap the names of left and right cannot be measured here, where no label has a
side.

muon        what medseg does: Muon for hidden convolutions, cosine, averaged weights
adamw       AdamW at 2e-3, cosine, averaged weights
one-cycle   the same with a rate that rises for a third of the time to 3e-3
sgd         nnU-Net's: Nesterov momentum 0.99, 1e-2, polynomial, the last weights
growing     as medseg, with patches that grow (peers/train_growing.py)
no mirrors  as medseg, without mirrored samples
all mirrors as medseg, mirrored along every axis
half rate   as medseg, with half of Muon's rate

    taskset -c 0 python bench/recipes.py ../shared/data/Task04_Hippocampus --seconds 120 --out OUT
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.dataset.description import DatasetDescription
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.folds import foreground_ml, make_folds
from medseg.dataset.importers import open_dataset
from medseg.dataset.plan import Plan, load_plan, make_plan, save_plan
from medseg.specs import MirrorSpec
from medseg.training.pace import plan_by_steps
from medseg.training.prepare import budget_of
from medseg.training.probe import probe_machine, processor_name, take_step
from medseg.training.run import RunSettings
from networks import interval
from peers.unseen import score, write_split

HERE = Path(__file__).parent
REFERENCE = "muon"
HELD_OUT_SHARE = 0.2

Change = Callable[[Plan], Plan]


@dataclass(frozen=True)
class Recipe:
    """A candidate: how it changes the plan, and the script that trains it."""

    change: Change
    script: str = "train_cpu.py"


@dataclass(frozen=True)
class Result:
    """One training.

    Attributes:
        recipe: Its name.
        seed: Of the held-out cases and of the training.
        steps: Steps of the optimizer.
        used: CPU seconds.
        dice: Mean over the structures, by held-out case.
    """

    recipe: str
    seed: int
    steps: int
    used: float
    dice: dict[str, float]


def recipe_with(**changed: Any) -> Change:
    """Other settings of the optimizer."""

    def change(plan: Plan) -> Plan:
        return plan.model_copy(update={"recipe": plan.recipe.model_copy(update=changed)})

    return change


def mirrors(*axes: int) -> Change:
    """Other mirrors; axes that a plan does not have are left out."""

    def change(plan: Plan) -> Plan:
        kept = tuple(axis for axis in axes if axis < plan.network.dims)
        augment = plan.augment.model_copy(update={"mirror": MirrorSpec(axes=kept)})
        return plan.model_copy(update={"augment": augment})

    return change


RECIPES = {
    "muon": Recipe(recipe_with(optimizer="muon")),
    "adamw": Recipe(recipe_with(optimizer="adamw")),
    "one-cycle": Recipe(recipe_with(optimizer="adamw", learning_rate=3e-3, warmup_share=0.33)),
    "sgd": Recipe(
        recipe_with(
            optimizer="sgd",
            learning_rate=1e-2,
            warmup_share=0.0,
            schedule="polynomial",
            weight_decay=3e-5,
            ema_decay=0.0,
        )
    ),
    "growing": Recipe(recipe_with(optimizer="muon"), script="train_growing.py"),
    "no mirrors": Recipe(mirrors()),
    "all mirrors": Recipe(mirrors(0, 1, 2)),
    "half rate": Recipe(recipe_with(optimizer="muon", muon_learning_rate=0.01)),
}


def training_part(dataset: Path) -> DatasetDescription:
    """The cases of all folds but the first."""
    described = open_dataset(dataset)
    kept = set(make_folds(described, strata=foreground_ml(described)).training(0))
    cases = tuple(case for case in described.cases if case.id in kept)
    return described.model_copy(update={"cases": cases, "unlabelled": ()})


def common_plan(described: DatasetDescription, seconds: float, path: Path) -> Plan:
    """What medseg would plan on one core for this time; the one that is there, if there is one."""
    if not path.exists():
        torch.set_num_threads(1)
        time.perf_counter = time.process_time  # what neighbours take makes the machine no slower
        fingerprint = take_fingerprint(described, workers=1)
        plan = plan_by_steps(
            lambda budget: make_plan(fingerprint, budget),
            budget_of(RunSettings(seconds=seconds), probe_machine("cpu")),
            lambda plan: take_step(plan, "cpu"),
        )
        save_plan(plan, path)
    return load_plan(path)


def train(options: argparse.Namespace, name: str, seed: int, plan: Plan) -> None:
    """Train and predict in a process of its own, unless that was done before."""
    out = options.out / f"{name}_{seed}"
    if (out / "record.json").exists():
        return
    if out.exists():
        sys.exit(f"{out} holds a training that did not end: remove it.")
    out.mkdir(parents=True)
    save_plan(RECIPES[name].change(plan), out / "plan.json")
    words = [sys.executable, HERE / "peers" / RECIPES[name].script, options.dataset, out]
    words += [f"{options.seconds:g}", "--plan", out / "plan.json"]
    words += ["--split", options.out / f"split_{seed}.json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (out / "log.txt").open("w") as log:
        done = subprocess.run(
            list(map(str, words)), stdout=log, stderr=log, env=environment, check=False
        )
    if done.returncode:
        tail = "\n".join((out / "log.txt").read_text().splitlines()[-15:])
        sys.exit(f"{name}, seed {seed} failed:\n{tail}")


def result(options: argparse.Namespace, name: str, seed: int) -> Result:
    """What a training left in its folder."""
    out = options.out / f"{name}_{seed}"
    record = json.loads((out / "record.json").read_text())
    split = json.loads((options.out / f"split_{seed}.json").read_text())
    unseen = [case["id"] for case in split["unseen"]]
    found = score(open_dataset(options.dataset), unseen, out / "predictions")
    dice = dict(zip(found.cases, found.mean_of_cases, strict=True))
    return Result(name, seed, record["steps"], record["train"], dice)


def line(name: str, results: list[Result], reference: list[Result]) -> str:
    """A recipe as a line of the table; differences are to the reference on the same cases."""
    dice = {(one.seed, case): value for one in results for case, value in one.dice.items()}
    ours = {(one.seed, case): value for one in reference for case, value in one.dice.items()}
    apart = {key: value - ours[key] for key, value in dice.items() if key in ours}
    difference = "-"
    if apart and name != REFERENCE:
        difference = "{:+.4f} ({:+.4f} to {:+.4f})".format(*interval(apart))
    seeds = ", ".join(f"{np.mean(list(one.dice.values())):.4f}" for one in results)
    return (
        f"| {name} | {np.mean([one.steps for one in results]):.0f} "
        f"| {np.mean([one.used for one in results]):.0f} "
        f"| {np.mean(list(dice.values())):.4f} | {seeds} | {difference} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=tuple(RECIPES))
    parser.add_argument("--out", type=Path, required=True, help="folder to keep")
    options = parser.parse_args()
    options.dataset, options.out = options.dataset.resolve(), options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    described = training_part(options.dataset)
    unseen = round(HELD_OUT_SHARE * len(described.cases))
    plan = common_plan(described, options.seconds, options.out / "plan.json")
    results: dict[str, list[Result]] = {name: [] for name in options.recipes}
    for seed in options.seeds:
        write_split(described, unseen, seed, options.out / f"split_{seed}.json")
        for name in options.recipes:
            train(options, name, seed, plan)
            results[name].append(result(options, name, seed))
            print(f"{name}, seed {seed}: {line(name, results[name][-1:], [])}", file=sys.stderr)
    patch = "x".join(str(n) for n in plan.patch_size if n > 1)
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, one thread, Python "
        f"{platform.python_version()}, torch {version('torch')}, medseg {version('medseg')}; "
        f"{options.dataset.name}, {options.seconds:g} CPU s a training, {len(described.cases)} "
        f"cases of which {unseen} are held out, seeds {', '.join(map(str, options.seeds))}; width "
        f"{plan.network.features[0]}, patch {patch}, batch {plan.recipe.batch_size}"
    )
    head = "| recipe | steps | CPU s | mean Dice | by seed | to medseg's (95 %) |\n"
    head += "|---|--:|--:|--:|--:|--:|"
    reference = results.get(REFERENCE, [])
    table = "\n".join([head, *(line(name, results[name], reference) for name in options.recipes)])
    print(f"{where}\n\n{table}")
    (options.out / "recipes.md").write_text(f"{where}\n\n{table}\n")


if __name__ == "__main__":
    main()
