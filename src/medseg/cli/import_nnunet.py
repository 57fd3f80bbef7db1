"""`medseg import-nnunet`: a model of nnU-Net v2 becomes a bundle, all its folds in one."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import reporting
from medseg.cli.convert_weights import conversion_facts, require_own_place, say_conversion


def import_nnunet(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of the model: .../nnUNetTrainer__nnUNetPlans__3d_fullres."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    folds: Annotated[
        str | None,
        typer.Option(help='Folds that become members: "0,1,2" or "all"; by default all numbered.'),
    ] = None,
    checkpoint: Annotated[
        Literal["final", "best", "latest"], typer.Option(help="Which checkpoint of each fold.")
    ] = "final",
    orientation: Annotated[
        str | None,
        typer.Option(
            help="Where the axes of all training files pointed to, such as RAS: cases are brought "
            "there. By default a case is seen as it lies in its file, as nnU-Net does."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make a bundle of a model that nnU-Net v2 has trained, all its folds in one."""
    with reporting(as_json=as_json) as console:
        from medseg.bundle import save_bundle
        from medseg.weights.nnunet_folder import import_nnunet as import_model

        require_own_place(out)
        done = import_model(
            folder,
            folds=None if folds is None else [fold.strip() for fold in folds.split(",")],
            kept=checkpoint,
            orientation=orientation,
            command=shlex.join(("medseg", *sys.argv[1:])),
            progress=console.progress,
        )
        save_bundle(done.bundle, out)
        say_conversion(console, done, out)
        console.result(conversion_facts(done, out))
