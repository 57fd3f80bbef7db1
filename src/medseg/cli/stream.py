"""`medseg stream`: a video, frames or a cine loop in, an overlay or masks out, in real time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import EXIT_FAILED, Console, reporting

if TYPE_CHECKING:
    from medseg.inference.durations import Spread
    from medseg.inference.stream_report import StreamReport


def stream(
    source: Annotated[
        Path, typer.Argument(help="A video, a folder of pictures, or a multi-frame DICOM file.")
    ],
    model: Annotated[
        str, typer.Option(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="An overlay video (.mp4, .mkv, .mov), a DICOM-SEG (.dcm), or a folder."),
    ],
    output: Annotated[
        Literal["auto", "video", "png", "dicom-seg"],
        typer.Option("--format", help='What to write; "auto" goes by the ending of --out.'),
    ] = "auto",
    fps: Annotated[
        float | None,
        typer.Option(min=0.5, max=1000, help="Frames a second [default: the source's, else 25]."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Frames come at that pace and are dropped under load."),
    ] = False,
    engine: Annotated[
        Literal["auto", "torch", "compiled", "onnx", "openvino", "tensorrt"],
        typer.Option(help="What runs the network."),
    ] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16", "int8"],
        typer.Option(help="What it computes with; int8 was exported before."),
    ] = "auto",
    spacing_mm: Annotated[
        float | None,
        typer.Option(min=1e-4, max=100, help="Size of a pixel [default: DICOM's, else 1]."),
    ] = None,
    skip_broken: Annotated[
        bool,
        typer.Option("--skip-broken", help="Pass over frames that cannot be decoded."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment a sequence of frames with a 2D bundle: latency, time by stage, frames dropped."""
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.inference.predict import Predictor
        from medseg.inference.realtime import stream_to
        from medseg.inference.sinks import output_of
        from medseg.volume.frames import open_frames

        wanted = output_of(out) if output == "auto" else output
        frames = open_frames(source, spacing_mm=spacing_mm)
        predictor = Predictor(
            load_bundle(model), engine=engine, device=device, precision=precision,
            progress=console.progress,
        )  # fmt: skip
        report = stream_to(
            frames, predictor, out, output=wanted, fps=fps, live=live, skip_broken=skip_broken,
            progress=console.progress,
        )  # fmt: skip
        _show(console, report)
        if report.ended != "whole":
            raise typer.Exit(EXIT_FAILED)


def _show(console: Console, report: "StreamReport") -> None:
    """Times by stage, what became of the frames, and why the sequence ended early."""
    from medseg.dataset.naming import counted

    kept = counted(report.segmented, "frame")
    total = sum(spread.mean_ms for spread in report.stages.values())
    rows = [
        [name, *_times(spread), f"{100 * spread.mean_ms / total:.0f} %" if total else ""]
        for name, spread in report.stages.items()
    ]
    if report.latency:
        rows.append(["latency, end to end", *_times(report.latency), ""])
    heads = ["stage", "mean ms", "p50", "p95", "p99", "share"]
    size = f"{report.columns} x {report.rows}"
    console.table(f"{size}, {report.engine} {report.precision}", heads, rows)
    pace = f"{kept} in {report.seconds:.1f} s: "
    pace += f"{report.frames_per_second:.1f} a second"
    lost = [f"{report.dropped} dropped under load"] if report.live else []
    lost += [f"{report.broken} broken"] if report.broken else []
    console.say(", ".join([pace, *lost]))
    console.say(f"The result is in {report.out}")
    if report.error is not None:
        console.complain(
            report.error.code,
            f"{report.error.message} What was before it is kept: {kept}.",
        )
    if report.ended == "interrupted":
        console.complain("interrupted", f"Stopped by the user; kept: {kept}.")
    console.result(report.model_dump(mode="json"))


def _times(spread: "Spread") -> list[str]:
    return [f"{ms:.1f}" for ms in (spread.mean_ms, spread.p50_ms, spread.p95_ms, spread.p99_ms)]
