"""`medseg convert-weights`: weights that a network's authors trained become a bundle."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.console import Console, reporting

if TYPE_CHECKING:
    from medseg.dataset.plan import Plan
    from medseg.types import SpacingMm
    from medseg.weights import Conversion

_SHOWN, _SHOWN_DEAD = 12, 1
"""Names that are printed of each kind, and of those that matter to nobody; --json has all."""


def convert_weights(
    checkpoints: Annotated[
        list[Path], typer.Argument(help="Checkpoint; several are an ensemble, such as folds.")
    ],
    arch: Annotated[str, typer.Option(help="Kind of network; medseg networks lists them.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    plan: Annotated[
        Path | None,
        typer.Option(help="A plan.json that says how cases are prepared; its network is replaced."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help='Names of the classes but background: "liver,tumour".')
    ] = None,
    spacing_mm: Annotated[
        str | None, typer.Option(help='Spacing of its images along I, J, K: "0.8,0.8,3".')
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="Of all channels: CT, MR, PT, RGB and so on.")
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(help="Where the axes of its images point to, such as RAS or LPS."),
    ] = None,
    axes: Annotated[
        Literal["auto", "xyz", "zyx"],
        typer.Option(help="Order of the axes of its arrays; auto: zyx for nnU-Net's files."),
    ] = "auto",
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Weights that are not found stay as before a training."
        ),
    ] = False,
    save_plan: Annotated[
        Path | None, typer.Option(help="Also write the bundle's plan, for train --plan.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make a bundle of weights that a network's authors have trained."""
    spacing = None if spacing_mm is None else _spacing_of(spacing_mm)
    with reporting(as_json=as_json) as console:
        from medseg.bundle import save_bundle
        from medseg.dataset.plan import load_plan
        from medseg.dataset.plan import save_plan as write_plan
        from medseg.weights.convert import convert
        from medseg.weights.surroundings import Wishes

        require_own_place(out)
        wishes = Wishes(
            plan=None if plan is None else load_plan(plan),
            labels=None if labels is None else tuple(x.strip() for x in labels.split(",")),
            spacing_mm=spacing,
            modality=modality,
            orientation=orientation,
        )
        done = convert(
            checkpoints,
            arch,
            wishes,
            axes=axes,
            allow_missing=allow_missing,
            command=shlex.join(("medseg", *sys.argv[1:])),
            progress=console.progress,
        )
        save_bundle(done.bundle, out)
        if save_plan is not None:
            write_plan(done.bundle.plan, save_plan)
        say_conversion(console, done, out)
        console.result(conversion_facts(done, out))


def say_conversion(console: Console, done: "Conversion", out: Path) -> None:
    """What became of the tensors, and what the bundle is, for people."""
    members = len(done.bundle.members)
    console.say(f"Names of {done.origin}: {done.taken} tensors" + (f" x {members}" * (members > 1)))
    _say_names(console, "carry no weight of the network", done.dead, _SHOWN_DEAD)
    _say_names(console, "of the checkpoint found no home", done.homeless)
    _say_names(console, f"of ours are as before a training ({done.reason})", done.fresh)
    shown = done.bundle.plan
    spacing = " x ".join(f"{mm:.4g}" for mm in shown.spacing_mm)
    labels = ", ".join(label.name for label in shown.labels)
    axes = f"as in each file, order {_file_axes(shown)}" if shown.keeps_axes else shown.orientation
    console.say(f"Axes {axes}, spacing {spacing} mm, labels {labels}")
    console.say(f"Bundle: {out}")


def _file_axes(plan: "Plan") -> str:
    """Which axes of a file I, J and K are: "x y z"."""
    return " ".join("xxyyzz"["RLAPSI".index(letter)] for letter in plan.orientation)


def _say_names(console: Console, what: str, names: tuple[str, ...], shown: int = _SHOWN) -> None:
    if names:
        rest = len(names) - shown
        more = f" and {rest} more" if rest > 0 else ""
        console.say(f"{len(names)} {what}: {', '.join(names[:shown])}{more}")


def conversion_facts(done: "Conversion", out: Path) -> dict[str, Any]:
    """The same for programs."""
    return {
        "bundle": str(out),
        "origin": done.origin,
        "members": len(done.bundle.members),
        "taken": done.taken,
        "dead": list(done.dead),
        "homeless": list(done.homeless),
        "fresh": list(done.fresh),
        "fresh_reason": done.reason,
        "plan": done.bundle.plan.model_dump(mode="json"),
    }


def _spacing_of(text: str) -> "SpacingMm":
    try:
        i, j, k = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"a spacing is three numbers in mm such as 0.8,0.8,3, not {text!r}"
        ) from None
    return (i, j, k)


def require_own_place(out: Path) -> None:
    """A bundle replaces a bundle, and nothing else."""
    from medseg.bundle import DESCRIPTION_FILE
    from medseg.errors import CannotWrite

    is_other = out.is_file() or (out.is_dir() and any(out.iterdir()))
    if is_other and not (out / DESCRIPTION_FILE).is_file():
        raise CannotWrite(
            "A bundle is written to a new place, or over an older bundle.",
            received=f"{out}, which holds something else",
            cure="Choose another folder with --out.",
        )
