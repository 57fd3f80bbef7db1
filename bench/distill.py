"""Does a teacher help? A student beside the same student without one, in the same CPU seconds.

The teacher is `hippocampus-mr`, whose five networks are those of a cross-validation. In each fold
only the network that has not seen its cases teaches, the student and its control are trained on the
cases that this network was trained on, and all three are judged on the others: nobody has seen
those. The folds are drawn again, and must give the Dice that the bundle's own figures name.

Student and control are trained by `medseg.training` as `medseg distill` does it, each in a process
of its own whose clocks are its CPU time, what the teacher computes included. Each row is written
when it is done; the same command goes on where it was interrupted. With --int8 an INT8 engine looks
at batches for the teacher: it is exported once for each fold, before anything is counted.

    python bench/distill.py ../shared/data/Task04_Hippocampus --seconds 300 --folds 0 1 2 3 4 \
        --seeds 0 1 2 --students lite plain_unet@0.5
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402

from medseg.bundle import Bundle, load_bundle, save_bundle  # noqa: E402
from medseg.compression.distill import paced, steps_within  # noqa: E402
from medseg.compression.export import ExportSettings, export  # noqa: E402
from medseg.compression.imitation import ImitationSpec  # noqa: E402
from medseg.compression.standings import standings  # noqa: E402
from medseg.compression.students import student_of, student_plan  # noqa: E402
from medseg.compression.teacher import Teacher, looking  # noqa: E402
from medseg.dataset.description import DatasetDescription  # noqa: E402
from medseg.dataset.folds import foreground_ml, make_folds  # noqa: E402
from medseg.dataset.importers import open_dataset  # noqa: E402
from medseg.inference.predict import Predictor  # noqa: E402
from medseg.metrics.paired import gain_of  # noqa: E402
from medseg.training.crossval import train  # noqa: E402
from medseg.training.prepare import Split  # noqa: E402
from medseg.training.run import FOLDS, RunSettings  # noqa: E402

TEACHER = "hippocampus-mr"
SAME_DICE = 0.003
"""How far the Dice of a fold may be from what the bundle says, which was measured by its run."""


def split_of(data: DatasetDescription, fold: int) -> Split:
    """Who taught and who judges in a fold."""
    held = make_folds(data, count=FOLDS, seed=0, strata=foreground_ml(data)).validation[fold]
    rest = tuple(case.id for case in data.cases if case.id not in set(held))
    return Split(fold, rest, tuple(held))


def teacher_of(fold: int) -> Bundle:
    """The network that has not seen a fold."""
    whole = load_bundle(TEACHER)
    return replace(whole, members=whole.members[fold : fold + 1])


def exported(data: DatasetDescription, fold: int, folder: Path) -> str:
    """The network that has not seen a fold, with an INT8 engine; made once."""
    path = folder / f"teacher_{fold}"
    if not path.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as name:
            saved = save_bundle(teacher_of(fold), Path(name) / "teacher")
            export(saved, ExportSettings("openvino", "int8", cases=0), data=data)
            (Path(name) / "teacher").rename(path)
    return str(path.resolve())


def judge_teacher(data: DatasetDescription, fold: int) -> dict[str, Any]:
    """The teacher's row; the fold is the right one if its Dice is the recorded one."""
    split, teacher = split_of(data, fold), teacher_of(fold)
    (found,) = standings({TEACHER: Predictor(teacher, engine="torch")}, data, split.validation)
    recorded = teacher.metrics["folds"][fold]["dice"]["mean"]
    if abs(found.dice - recorded) > SAME_DICE:
        sys.exit(f"fold {fold}: Dice {found.dice:.4f} for {recorded:.4f}: other cases than then")
    return {"fold": fold, "dice": list(found.case_dice), "ms": found.patch_ms}


def learn(
    data: DatasetDescription, out: Path, row: dict[str, Any], seconds: float, spec: ImitationSpec
) -> dict[str, Any]:
    """One training, in this process, by its CPU time."""
    time.monotonic = time.perf_counter = time.process_time
    split, teacher = split_of(data, row["fold"]), teacher_of(row["fold"])
    guide = None
    if row["taught"]:
        looker = load_bundle(row["engine"]) if row["engine"] else teacher
        maker = looking(looker, "openvino" if row["engine"] else "torch", device="cpu")
        guide = Teacher(looker, spec, device="cpu", maker=maker)
    plan = student_plan(teacher.plan, student_of(row["student"]))
    steps = steps_within(seconds, plan, guide, device="cpu")
    bundle = train(
        data,
        out,
        RunSettings(seconds=seconds, seed=row["seed"], arch=plan.network.kind, device="cpu"),
        plan=paced(plan, steps=steps, cases=len(split.training)),
        guide=guide,
        splits=(split._replace(fold=0),),
        clock=time.process_time,
    )
    (found,) = standings({"one": Predictor(bundle, engine="torch")}, data, split.validation)
    return row | {
        "steps": bundle.provenance.steps,
        "dice": list(found.case_dice),
        "ms": found.patch_ms,
    }


def table(rows: list[dict[str, Any]], students: list[str]) -> str:
    """What the rows say: differences are paired by fold, seed and case, seeds averaged."""
    lines = [
        "| student | folds, seeds, cases | teacher | with it | without | gain | steps | ms |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    teachers = {row["fold"]: row for row in rows if "student" not in row}
    for student in students:
        own = {(r["fold"], r["seed"], r["taught"]): r for r in rows if r.get("student") == student}
        pairs = sorted({key[:2] for key in own if {(*key[:2], n) in own for n in (0, 1)} == {True}})
        if not pairs:
            continue
        folds = sorted({fold for fold, _ in pairs})
        means = []
        for taught in (1, 0):
            by_fold = [
                np.mean([own[f, s, taught]["dice"] for f, s in pairs if f == fold], axis=0)
                for fold in folds
            ]
            means.append(np.concatenate(by_fold))
        gain = gain_of(means[0] - means[1])
        steps = [np.mean([own[f, s, n]["steps"] for f, s in pairs]) for n in (1, 0)]
        before = np.mean(np.concatenate([teachers[fold]["dice"] for fold in folds]))
        first = own[*pairs[0], 1]
        lines.append(
            f"| {student} | {len(folds)}, {len({s for _, s in pairs})}, {gain.n} | {before:.4f} | "
            f"{means[0].mean():.4f} | {means[1].mean():.4f} | {gain.mean:+.4f} "
            f"({gain.ci_low:+.4f} to {gain.ci_high:+.4f}) | {steps[0]:.0f}, {steps[1]:.0f} | "
            f"{first['ms']:.1f} ({teachers[folds[0]]['ms']:.1f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU seconds of a training")
    parser.add_argument("--students", nargs="+", default=["lite", "plain_unet@0.5"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--imitation", default="{}", help="what differs from ImitationSpec(), JSON")
    parser.add_argument("--rows", type=Path, default=Path("distill_rows.jsonl"))
    parser.add_argument("--int8", action="store_true", help="an INT8 engine looks for the teacher")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = open_dataset(options.dataset)
    spec = ImitationSpec.model_validate_json(options.imitation)
    if options.one:
        row = json.loads(options.one)
        with tempfile.TemporaryDirectory() as folder:
            done = (
                learn(data, Path(folder) / "run", row, options.seconds, spec)
                if "student" in row
                else judge_teacher(data, row["fold"])
            )
        with options.rows.open("a") as stream:
            stream.write(json.dumps(done | {"key": row}) + "\n")
        return
    wanted: list[dict[str, Any]] = [{"fold": fold} for fold in options.folds] + [
        {
            "fold": fold,
            "seed": seed,
            "taught": taught,
            "student": student,
            "engine": exported(data, fold, options.rows.parent) if options.int8 and taught else "",
        }
        for student in options.students
        for fold in options.folds
        for seed in options.seeds
        for taught in (1, 0)
    ]
    for row in wanted:
        key = row | {"seconds": options.seconds, "imitation": spec.model_dump_json()}
        if key not in [one["key"] for one in _rows(options.rows)]:
            words = [sys.executable, __file__, options.dataset, "--rows", options.rows, "--one",
                     json.dumps(key), "--seconds", options.seconds, "--imitation",
                     options.imitation]  # fmt: skip
            subprocess.run(
                list(map(str, words)), check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
    keys = [row | {"seconds": options.seconds, "imitation": spec.model_dump_json()}
            for row in wanted]  # fmt: skip
    print(table([one for one in _rows(options.rows) if one["key"] in keys], options.students))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


if __name__ == "__main__":
    main()
