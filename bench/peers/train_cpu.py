"""`medseg train --budget`, with a budget of CPU seconds, so that busy neighbours cost nothing.

All clocks of this process are its CPU time, the planner's probe included. A budget of 240 covers
imports, fingerprint, plan, preprocessing, training, validation and the bundle. With a split of
time_to_dice.py it trains on that split's cases and then predicts the unseen ones.

    python bench/peers/train_cpu.py ../shared/data/Task04_Hippocampus OUT 240
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from medseg.allocator import keep_freed_memory

keep_freed_memory()
time.monotonic = time.perf_counter = time.process_time

from medseg.bundle import Bundle  # noqa: E402
from medseg.dataset.description import DatasetDescription, read_case  # noqa: E402
from medseg.dataset.importers import open_dataset  # noqa: E402
from medseg.dataset.plan import load_plan  # noqa: E402
from medseg.inference.predict import Predictor  # noqa: E402
from medseg.training.crossval import train  # noqa: E402
from medseg.training.run import RunSettings  # noqa: E402
from medseg.volume.io import write_label_map  # noqa: E402


def only(described: DatasetDescription, cases: list[dict[str, str]]) -> DatasetDescription:
    """The same data set with fewer cases."""
    kept = tuple(described.case(case["id"]) for case in cases)
    return described.model_copy(update={"cases": kept})


def predict(bundle: Bundle, unseen: DatasetDescription, folder: Path) -> None:
    predictor = Predictor(bundle)
    for case in unseen.cases:
        mask = predictor.predict(read_case(unseen, case)).label_map
        write_label_map(mask, folder / f"{case.id}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="a data set of any known layout")
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("seconds", type=float, help="CPU seconds of the whole command")
    parser.add_argument("--plan", type=Path, help="a plan.json to use")
    parser.add_argument("--split", type=Path, help="the split that time_to_dice.py writes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    split = json.loads(options.split.read_text()) if options.split else None
    described = open_dataset(options.dataset)
    plan = load_plan(options.plan) if options.plan else None
    settings = RunSettings(
        seconds=options.seconds,
        seed=split["seed"] if split else options.seed,
        arch=plan.network.kind if plan else "plain_unet",
    )
    bundle = train(
        only(described, split["training"]) if split else described,
        options.out / "run",
        settings,
        plan=plan,
        clock=time.process_time,
        command=shlex.join(sys.argv),
    )
    record = {"prepare": 0.0, "train": time.process_time(), "steps": bundle.provenance.steps}
    if split:
        predict(bundle, only(described, split["unseen"]), options.out / "predictions")
    record["predict"] = time.process_time() - record["train"]
    (options.out / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
