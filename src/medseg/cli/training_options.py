"""Options that say what is planned and trained: the same words in every command that has them."""

from typing import Annotated, Literal

import typer

Config = Annotated[
    Literal["auto", "2d", "3d_full", "3d_low", "cascade"],
    typer.Option(
        "--config",
        help="Slices, volumes, volumes at a coarser resolution, or volumes with the mask of that.",
    ),
]
Configs = Annotated[
    str,
    typer.Option(
        "--config",
        help="Slices, volumes, volumes at a coarser resolution or volumes with the mask of that: "
        '2d, 3d_full, 3d_low, cascade or auto; several, such as "2d,3d_full" or all (but the '
        "cascade), are compared, and the best becomes the bundle.",
    ),
]
Preset = Annotated[
    Literal["m", "l", "xl"] | None,
    typer.Option(
        "--preset", help="Plan for a card of 8, 24 or 40 GB, as nnU-Net's ResEnc M, L and XL."
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option("--precision", help="Arithmetic; auto times a few steps."),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to train.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that lies in --out.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
StopEarly = Annotated[
    bool,
    typer.Option(
        "--stop-early", help="End when six looks in turn at held-out cases found no gain."
    ),
]
PlannedDevice = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(
        "--device", help="Where to train; a GPU that is not here is taken for a common one."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", help="Memory of a training step, such as 8G; else what is free."),
]
Gflops = Annotated[
    float | None,
    typer.Option("--gflops", min=1, help="Speed of the machine; measured when not given."),
]
