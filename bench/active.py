"""Which strategy of choosing cases gives the better network for the same number of labels?

Ten cases drawn at random are labelled in every course. A network is trained on what is labelled,
looks at the rest of the pool, a strategy chooses as many cases again (20, 40, 80 in all), and a new
network is trained: always from nothing, for the same number of steps, so that only the cases
differ. Judged on cases that belong to no pool. Random is always there, with the same first ten
cases and the same seeds of training.

Every training appends a line to `active.jsonl`; a run that was stopped goes on where it was.

    python bench/active.py Task04_Hippocampus --keep FOLDER [--seeds 3] [--steps 200] [--only NAME]
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from medseg.allocator import keep_freed_memory
from medseg.bundle import Bundle
from medseg.continual.active import Strategy, rank
from medseg.continual.drift_observation import Observation, Observer, mean_dice
from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.importers import open_dataset
from medseg.dataset.plan import Plan, load_plan, make_plan, save_plan
from medseg.inference.predict import Predictor
from medseg.specs import Budget
from medseg.training.crossval import train
from medseg.training.prepare import Split
from medseg.training.run import RunSettings

SIZES, TEST_CASES = (10, 20, 40, 80), 60
STRATEGIES: tuple[Strategy, ...] = tuple(n for n in get_args(Strategy) if n != "bald")
"""BALD needs several networks: as many trainings again."""

PLANNED_SECONDS, GFLOPS = 60.0, 150.0
"""What the one plan of all trainings is made for."""


@dataclass(frozen=True)
class Course:
    """One strategy with one seed."""

    strategy: Strategy
    seed: int

    def name(self, size: int) -> str:
        """All strategies share the first training of a seed."""
        return f"first_{self.seed}" if size == SIZES[0] else f"{self.strategy}_{self.seed}_{size}"


class Bench:
    """All courses over one data set.

    Args:
        described: The data set.
        keep: Folder of runs, looks and results.
        steps: Of every training.
    """

    def __init__(self, described: DatasetDescription, keep: Path, steps: int) -> None:
        self.described, self.keep, self.steps = described, keep, steps
        self.path = keep / "active.jsonl"
        self.done: dict[str, list[float]] = {}
        self.chosen: dict[str, list[str]] = {}
        if self.path.is_file():
            for line in self.path.read_text().splitlines():
                row = json.loads(line)
                self.done[row["name"]], self.chosen[row["name"]] = row["dice"], row["cases"]
        ids = np.array(sorted(case.id for case in described.cases))
        drawn = [str(one) for one in np.random.default_rng(0).permutation(ids)]
        self.test, self.pool = drawn[:TEST_CASES], drawn[TEST_CASES:]

    def run(self, course: Course) -> None:
        """From ten cases to eighty."""
        drawn = np.random.default_rng(100 + course.seed).permutation(self.pool)
        labelled = [str(one) for one in drawn[: SIZES[0]]]
        for n, size in enumerate(SIZES):
            name = course.name(size)
            labelled = self.chosen.get(name, labelled)
            bundle = None
            if name not in self.done:
                bundle = self.trained(name, labelled, course.seed)
                self.record(name, labelled, bundle)
            if size == SIZES[-1] or course.name(SIZES[n + 1]) in self.done:
                continue
            bundle = bundle or self.trained(name, labelled, course.seed)
            more = SIZES[n + 1] - size
            labelled = [*labelled, *self.selected(course, name, bundle, labelled, more)]

    def trained(self, name: str, labelled: Sequence[str], seed: int) -> Bundle:
        """A network of so many steps from nothing; kept."""
        wanted = set(labelled)
        part = self.described.model_copy(
            update={"cases": tuple(c for c in self.described.cases if c.id in wanted)}
        )
        folder, plan = self.keep / "runs" / name, self.plan()
        epochs = round(self.steps * plan.recipe.batch_size / len(labelled))
        ids = tuple(sorted(labelled))
        settings = RunSettings(epochs=epochs, seed=seed, precision="bf16")
        splits = (Split(0, ids, ids[:2]),)
        return train(
            part, folder, settings, plan=plan, splits=splits, resume=(folder / "run.json").is_file()
        )

    def plan(self) -> Plan:
        """The one plan of all trainings."""
        path = self.keep / "plan.json"
        if not path.is_file():
            budget = Budget(
                seconds=PLANNED_SECONDS, memory_bytes=4 << 30, device="cpu", cores=1, gflops=GFLOPS
            )
            save_plan(make_plan(take_fingerprint(self.described), budget, config="3d_full"), path)
        return load_plan(path)

    def selected(
        self, course: Course, name: str, bundle: Bundle, labelled: Sequence[str], more: int
    ) -> tuple[str, ...]:
        """What the strategy takes of the rest of the pool."""
        rest = [case for case in self.pool if case not in set(labelled)]
        if course.strategy == "random":
            drawn = np.random.default_rng(1000 * course.seed + len(labelled)).permutation(rest)
            return tuple(map(str, drawn[:more]))
        seen = self.looks(name, bundle)
        chosen = rank(
            [seen[case] for case in rest], more, strategy=course.strategy,
            labelled=[seen[case] for case in labelled], seed=course.seed,
        )  # fmt: skip
        return tuple(one.case for one in chosen)

    def looks(self, name: str, bundle: Bundle) -> dict[str, Observation]:
        """What a network sees of the whole pool; kept, since strategies share the first one."""
        path = self.keep / "looks" / f"{name}.npz"
        if not path.is_file():
            observer = Observer(bundle)
            found = [
                observer.observe(case, read_case(self.described, self.described.case(case)))
                for case in self.pool
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                path,
                values=json.dumps([one.values for one in found]),
                embedding=np.array([one.embedding for one in found]),
            )
        with np.load(path) as kept:
            values, embedding = json.loads(str(kept["values"])), kept["embedding"]
        return {
            case: Observation(case, one, vector)
            for case, one, vector in zip(self.pool, values, embedding, strict=True)
        }

    def record(self, name: str, labelled: Sequence[str], bundle: Bundle) -> None:
        """Judge on the test cases, and append a line."""
        predictor, dice = Predictor(bundle), []
        for case in map(self.described.case, self.test):
            found = predictor.predict(read_case(self.described, case)).label_map
            dice.append(round(mean_dice(found, read_case_label(self.described, case)), 5))
        row = {"name": name, "steps": self.steps, "cases": list(labelled), "dice": dice}
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self.done[name], self.chosen[name] = dice, list(labelled)
        shutil.rmtree(self.keep / "runs" / name / "store", ignore_errors=True)

    def table(self, seeds: int) -> None:
        """Mean Dice by labels, and what each strategy gains on random."""
        print("| strategy | " + " | ".join(f"{size}" for size in SIZES) + " | gain on random |")
        print("|---" + "|--:" * (len(SIZES) + 1) + "|")
        for strategy in STRATEGIES:
            courses = [Course(strategy, seed) for seed in range(seeds)]
            cells, gains = [], []
            for size in SIZES:
                pairs = [
                    (self.done[c.name(size)], self.done[Course("random", c.seed).name(size)])
                    for c in courses
                    if c.name(size) in self.done
                    and Course("random", c.seed).name(size) in self.done
                ]
                cells.append(f"{np.mean([one for one, _ in pairs]):.4f}" if pairs else "")
                if size > SIZES[0]:
                    gains += [np.subtract(one, other) for one, other in pairs]
            print(f"| {strategy} | " + " | ".join(cells) + f" | {_gain(gains)} |")


def _gain(gains: Sequence[np.ndarray]) -> str:
    """Mean over sizes and seeds, with an interval over both and the test cases."""
    if not gains or not np.any(gains):
        return ""
    rng, values = np.random.default_rng(0), np.array(gains)
    means = []
    for _ in range(2000):
        runs = rng.integers(len(values), size=len(values))
        cases = rng.integers(values.shape[1], size=values.shape[1])
        means.append(values[runs][:, cases].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", choices=STRATEGIES, default=None)
    chosen = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    chosen.keep.mkdir(parents=True, exist_ok=True)
    bench = Bench(open_dataset(chosen.data), chosen.keep, chosen.steps)
    for seed in range(chosen.seeds):
        for strategy in (chosen.only,) if chosen.only else STRATEGIES:
            start = time.process_time()
            bench.run(Course(strategy, seed))
            print(f"{strategy}, seed {seed}: {time.process_time() - start:.0f} CPU s", flush=True)
    bench.table(chosen.seeds)


if __name__ == "__main__":
    main()
