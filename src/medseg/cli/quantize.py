"""`medseg quantize`: a bundle in INT8, after its training or trained for it."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import reporting
from medseg.cli.durations import seconds_of


def quantize(
    bundle: Annotated[
        str, typer.Argument(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    data: Annotated[
        Path, typer.Option(help="The data set that it was trained on, or one of its kind.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    to: Annotated[
        Literal["onnx", "openvino", "tensorrt"], typer.Option("--to", help="The runtime.")
    ] = "openvino",
    qat: Annotated[
        bool, typer.Option("--qat", help="Train the networks for INT8 (quantisation-aware).")
    ] = False,
    budget: Annotated[
        str, typer.Option(help="Wall time of the whole command with --qat: 90s, 10m.")
    ] = "10m",
    max_dice_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Mean Dice may fall by so much.")
    ] = 0.005,
    cases: Annotated[int, typer.Option(min=1, help="Whole cases that judge, at most.")] = 24,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where --qat trains.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of order and augmentation.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Quantise a bundle to INT8; nothing is written if mean Dice falls by too much."""
    seconds = seconds_of(budget)
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.cli.convert_weights import require_own_place
        from medseg.cli.export import say_export
        from medseg.cli.train import command_age
        from medseg.compression.quantize import QuantizeSettings
        from medseg.compression.quantize import quantize as quantize_bundle
        from medseg.dataset.importers import open_dataset
        from medseg.training.schedule import command_clock

        clock = command_clock(command_age())
        require_own_place(out)
        done = quantize_bundle(
            load_bundle(bundle),
            open_dataset(data, progress=console.progress),
            out,
            QuantizeSettings(
                target=to, train=qat, seconds=seconds, max_dice_loss=max_dice_loss, cases=cases,
                device=device, seed=seed,
            ),
            clock=clock,
            command=shlex.join(("medseg", *sys.argv[1:])),
            progress=console.progress,
        )  # fmt: skip
        say_export(console, done)
        untrained = done.record.quantisation.untrained if done.record.quantisation else None
        if untrained is not None:
            console.say(
                f"The same weights in INT8 before training: Dice {untrained.dice.engine:.4f}"
            )
        console.result({"folder": str(out), **done.record.model_dump(mode="json")})
