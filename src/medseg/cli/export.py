"""`medseg export`: a bundle for another runtime, kept only if it agrees with torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import Console, reporting

if TYPE_CHECKING:
    from medseg.inference.exported import Compared, EngineRecord, Exported


def export(
    bundle: Annotated[
        str, typer.Argument(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    to: Annotated[
        Literal["onnx", "openvino", "tensorrt", "compiled"],
        typer.Option("--to", help="The runtime; compiled is torch's own compiler."),
    ],
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"], typer.Option(help="What it computes with.")
    ] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Data set of the bundle's kind: INT8 needs it, all are checked on it."),
    ] = None,
    max_dice_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Mean Dice may fall by so much.")
    ] = 0.005,
    cases: Annotated[int, typer.Option(min=1, help="Whole cases that judge, at most.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Export a bundle to a runtime; nothing is kept that differs from the weights in torch."""
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.compression.export import ExportSettings
        from medseg.compression.export import export as export_bundle
        from medseg.dataset.importers import open_dataset

        loaded = load_bundle(bundle)
        data = None if calibrate is None else open_dataset(calibrate, progress=console.progress)
        done = export_bundle(
            loaded,
            ExportSettings(to, precision, max_dice_loss=max_dice_loss, cases=cases),
            data=data,
            progress=console.progress,
        )
        say_export(console, done)
        console.result({"folder": str(done.folder), **done.record.model_dump(mode="json")})


def say_export(console: Console, done: "Exported") -> None:
    """What was exported and what it is worth, for people."""
    record = done.record
    console.table(f"Exported: {record.name}", ["what", "value"], list(_rows(record)))
    console.say(f"Engine: {done.folder}")
    if record.accuracy is not None and not record.accuracy.are_held_out:
        console.say("The bundle was trained on cases that judged: their Dice is too high.")
    console.say(f"Use it: medseg predict ... --engine {record.kind}, or auto if it is the fastest.")


def _rows(record: "EngineRecord") -> list[tuple[str, str]]:
    parity, size_mb = record.parity, sum(file.bytes for file in record.files.values()) / 1e6
    rows = [
        ("networks", str(record.networks)),
        ("size", f"{size_mb:.1f} MB"),
        ("patch", f"{record.patch_ms:.3g} ms; torch in float32 {record.torch_ms:.3g} ms "
                  f"({record.threads} threads)"),
        (f"against torch ({parity.against})",
         f"Dice {parity.dice:.4f}, logits differ by up to {parity.largest_difference:.2g} of "
         f"{parity.largest_logit:.3g} ({parity.patches} patches: {parity.source})"),
    ]  # fmt: skip
    if record.quantisation is not None:
        kept = record.quantisation.kept
        rows += [
            ("INT8 convolutions", f"{record.quantisation.layers}, as the runtime's graph says"),
            ("kept in float", ", ".join(f"{name} ({why})" for name, why in kept.items()) or "none"),
        ]
    if record.accuracy is not None:
        accuracy = record.accuracy
        rows.append(("Dice", f"{_words(accuracy.dice, 4)}; {len(accuracy.cases)} cases"))
        if accuracy.hd95_mm is not None:
            rows.append(("HD95, mm", _words(accuracy.hd95_mm, 2)))
    return rows


def _words(compared: "Compared", digits: int) -> str:
    """For example "0.8891 for 0.8895 (-0.0010 to 0.0002)"."""
    low, high = compared.ci_low, compared.ci_high
    interval = "" if low is None or high is None else f" ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"{compared.engine:.{digits}f} for {compared.torch:.{digits}f} in torch{interval}"
