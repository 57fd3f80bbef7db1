"""`medseg predict`: scans in, masks out."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import EXIT_FAILED, Console, reporting
from medseg.cli.dicom_options import AllowGaps, Measurements, SegType, SeriesUid
from medseg.cli.plan import bytes_of

if TYPE_CHECKING:
    from medseg.inference.record import CaseOutcome


_SHORT = {
    "nothing_found": "nothing found",
    "outside_training_range": "volume",
    "touches_border": "border",
    "several_components": "parts",
}
"""Flags, in the words of the table."""

EngineName = Annotated[
    Literal["auto", "torch", "compiled", "onnx", "openvino", "tensorrt"],
    typer.Option(help="What runs the network."),
]
PrecisionName = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(help="What it computes with; int8 was exported before."),
]
MostMemory = Annotated[
    str | None,
    typer.Option(help="Take at most so much memory: 4G, 800M. The program itself needs 0.4G."),
]


def predict(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Image files, folders of image files, or DICOM folders or zips."),
    ],
    model: Annotated[
        str, typer.Option(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the masks and predictions.json.")],
    engine: EngineName = "auto",
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Also show the images mirrored: up to 8 times the work."),
    ] = False,
    attention: Annotated[
        bool,
        typer.Option("--attention", help="Also write what attention gates let through."),
    ] = False,
    mask_format: Annotated[
        Literal["nifti", "dicom-seg", "dicom-rtstruct", "same"],
        typer.Option("--format", help='Of the masks; "same" is that of the input.'),
    ] = "nifti",
    seg_type: SegType = "binary",
    measurements: Measurements = False,
    series: SeriesUid = "",
    allow_gaps: AllowGaps = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")] = "auto",
    precision: PrecisionName = "auto",
    memory: MostMemory = None,
    skip_air: Annotated[
        bool,
        typer.Option("--skip-air", help="Of a CT: windows of nothing but air are background."),
    ] = False,
    foretell: Annotated[
        bool,
        typer.Option("--foretell", help="Also foretell Dice, if the bundle has a model for that."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the masks that an earlier run has finished.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment scans: one mask for each case, volumes in ml and a first estimate of quality."""
    if measurements and mask_format not in ("dicom-seg", "same"):
        raise typer.BadParameter("--measurements lie beside a DICOM-SEG: add --format dicom-seg.")
    memory_bytes = None if memory is None else bytes_of(memory)
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.inference.batch import predict_cases
        from medseg.inference.inputs import find_inputs
        from medseg.inference.memory import bounded
        from medseg.inference.predict import Predictor
        from medseg.volume.dicom_zip import as_folder

        predictor = Predictor(
            load_bundle(model), engine=engine, device=device, precision=precision, mirrors=tta,
            attention=attention, skip_air=skip_air, memory_bytes=memory_bytes, foretell=foretell,
            progress=console.progress,
        )  # fmt: skip
        if tta and not predictor.ensemble.mirrors[1:]:
            console.progress.note("This bundle was trained without mirrors: --tta changes nothing.")
        with ExitStack() as unpacked, bounded(memory_bytes):
            cases = find_inputs(
                [unpacked.enter_context(as_folder(path)) for path in inputs],
                series_uid=series, allow_gaps=allow_gaps, progress=console.progress,
            )  # fmt: skip
            outcomes = predict_cases(
                cases, predictor, out, format=mask_format, seg_type=seg_type,
                measurements=measurements, resume=resume, progress=console.progress,
            )  # fmt: skip
        _report(console, outcomes, out)
        if any(outcome.status == "failed" for outcome in outcomes):
            raise typer.Exit(EXIT_FAILED)


def _report(console: Console, outcomes: "list[CaseOutcome]", out: Path) -> None:
    """A table of what was found, one sentence for each case without a mask, and where it lies."""
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    if done:
        names = list(done[0].volumes_ml)
        shown = names if len(names) <= 6 else []
        heads = [f"{name}, ml" for name in shown] or ["structures found"]
        if any(x.quality and x.quality.predicted_dice is not None for x in done):
            heads.append("foretold Dice")
        columns = ["case", *heads, "quality", "look at", "s"]
        console.table("Predicted", columns, [_row(x, shown) for x in done])
        console.say(f"{len(done)} masks and predictions.json are in {out}")
        gates = done[0].attention
        if gates:
            console.say(f"What the {len(gates)} gates let through: {out}/NAME_attention_*.nii.gz")
    for outcome in outcomes:
        for remark in outcome.remarks:
            console.progress.note(f"{outcome.case}: {remark.text}")
        if outcome.error is not None:
            console.complain(outcome.error.code, f"{outcome.case}: {outcome.error.message}")
    console.result(
        {
            "out": str(out),
            "cases": [x.model_dump(mode="json", exclude_defaults=True) for x in outcomes],
        }
    )


def _row(outcome: "CaseOutcome", shown: list[str]) -> list[str]:
    quality = outcome.quality
    if shown:
        facts = [f"{outcome.volumes_ml[name]:.2f}" for name in shown]
    else:
        facts = [
            f"{sum(ml > 0 for ml in outcome.volumes_ml.values())} of {len(outcome.volumes_ml)}"
        ]
    if quality and quality.predicted_dice is not None:
        facts.append(f"{quality.predicted_dice:.2f}")
    return [
        outcome.case,
        *facts,
        f"{quality.score:.2f}" if quality else "",
        ", ".join(dict.fromkeys(_SHORT[flag.kind] for flag in quality.flags)) if quality else "",
        f"{outcome.seconds:.1f}",
    ]
