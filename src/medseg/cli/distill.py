"""`medseg distill`: a small network learns from a large one, beside the same without a teacher."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.durations import seconds_of
from medseg.cli.training_options import Device, Precision, Resume, Seed

if TYPE_CHECKING:
    from medseg.compression.distill import Distilled
    from medseg.compression.standings import Difference

_DEFAULT_BUDGET = "20m"

Temperature = Annotated[
    float, typer.Option(min=0.1, help="What logits are divided by before they are compared.")
]
LogitsWeight = Annotated[
    float, typer.Option(min=0.0, help="Weight of the teacher's logits beside the labels.")
]
FeaturesWeight = Annotated[
    float, typer.Option(min=0.0, help="Weight of its features, in structures.")
]
BoundaryWeight = Annotated[
    float, typer.Option(min=0.0, help="So much more counts a voxel beside another label.")
]
TeacherEngine = Annotated[
    Literal["auto", "torch", "compiled", "onnx", "openvino"],
    typer.Option(help="What looks for the teacher; engines are exported before, in INT8 fastest."),
]
Networks = Annotated[
    int | None, typer.Option(min=1, help="So many of an ensemble's networks teach.  [all]")
]


def distill(
    teacher: Annotated[
        str, typer.Argument(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    data: Annotated[
        Path, typer.Option(help="The data set that it was trained on, or one of its kind.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; the bundle is OUT/bundle.")],
    student: Annotated[
        str, typer.Option(help="Kind of network, and its width after @: lite, plain_unet@0.5.")
    ] = "lite",
    budget: Annotated[
        str | None,
        typer.Option(help=f"Time of both trainings and of judging: 90s, 20m.  [{_DEFAULT_BUDGET}]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the cases, instead of a budget.")
    ] = None,
    temperature: Temperature = 2.0,
    logits_weight: LogitsWeight = 1.0,
    features_weight: FeaturesWeight = 0.1,
    boundary_weight: BoundaryWeight = 2.0,
    networks: Networks = None,
    teacher_engine: TeacherEngine = "auto",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Also learn from cases without a label.")
    ] = False,
    quantize: Annotated[
        bool,
        typer.Option("--quantize", help="Then quantise the student to INT8; on top of the budget."),
    ] = False,
    cases: Annotated[int, typer.Option(min=1, help="Whole cases that judge, at most.")] = 24,
    device: Device = "auto",
    precision: Precision = "auto",
    resume: Resume = False,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Distil a bundle into a smaller network, beside the same network without a teacher."""
    if budget is not None and epochs is not None:
        raise typer.BadParameter("give --budget or --epochs, not both")
    seconds = None if epochs is not None else seconds_of(budget or _DEFAULT_BUDGET)
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.cli.train import command_age
        from medseg.compression.distill import DistillSettings
        from medseg.compression.distill import distill as distil
        from medseg.compression.imitation import ImitationSpec
        from medseg.dataset.importers import open_dataset
        from medseg.dataset.manifest import with_version
        from medseg.training.schedule import command_clock

        imitation = ImitationSpec(
            temperature=temperature, logits_weight=logits_weight, features_weight=features_weight,
            boundary_weight=boundary_weight, networks=networks,
        )  # fmt: skip
        done = distil(
            load_bundle(teacher),
            with_version(open_dataset(data, progress=console.progress), data),
            out,
            DistillSettings(
                student=student, seconds=seconds, epochs=epochs, imitation=imitation,
                teacher_engine=teacher_engine, unlabelled=unlabelled, quantise=quantize,
                cases=cases, device=device, precision=precision, seed=seed,
            ),
            resume=resume,
            clock=command_clock(command_age()),
            command=shlex.join(["medseg", *sys.argv[1:]]),
            progress=console.progress,
        )  # fmt: skip
        _say(console, done, out)


def _say(console: Console, done: "Distilled", out: Path) -> None:
    """The table, who is better, and the picture."""
    from medseg.files import write_text
    from medseg.report.plots.pareto import Priced, pareto

    picture = out / "pareto.svg"
    models = [Priced(one.name, one.patch_ms, one.dice) for one in done.models]
    write_text(picture, pareto(models) + "\n")
    rows = [
        [one.name, f"{one.dice:.4f}", f"{one.patch_ms:.3g}", f"{one.parameters / 1e6:.3g}",
         one.engine]
        for one in done.models
    ]  # fmt: skip
    columns = ["model", f"Dice, {len(done.cases)} cases", "ms a patch", "million weights", "engine"]
    console.table("", columns, rows)
    console.say(
        f"Steps: {done.student_steps} in {done.student_seconds:.0f} s with a teacher "
        f"({done.teacher_engine}), "
        f"{done.control_steps} in {done.control_seconds:.0f} s without."
    )
    for name, one in (("student", done.gain), ("student", done.behind), ("INT8", done.quantised)):
        if one is not None:
            console.say(f"The {name} against {one.against}: {_words(one)}")
    if done.refused:
        console.say(f"INT8 was refused. {done.refused}")
    if done.teacher_has_seen:
        console.say(
            "The teacher was trained on cases that judged: its Dice is too high, and the student "
            "may have heard of them from it."
        )
    console.say(
        f"Bundle:  {out / 'bundle'}\nFigures: {out / 'distillation.json'}\nPlot:    {picture}"
    )
    console.result({"bundle": str(out / "bundle"), "plot": str(picture), **done.model_dump()})


def _words(difference: "Difference") -> str:
    low, high = difference.ci_low, difference.ci_high
    interval = "" if low is None or high is None else f" ({low:+.4f} to {high:+.4f})"
    return f"{difference.mean:+.4f} Dice{interval}: {difference.verdict}."
