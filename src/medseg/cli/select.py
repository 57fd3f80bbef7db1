"""`medseg select`: which unlabelled cases to label next, with masks to start from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.dicom_options import AllowGaps

if TYPE_CHECKING:
    from medseg.continual.active import Selection


def select(
    pool: Annotated[
        list[Path],
        typer.Argument(help="Unlabelled cases: image files, folders of them, or DICOM folders."),
    ],
    model: Annotated[
        str, typer.Option(help="Name of a bundle in the box, or a bundle's or a run's folder.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the worklist, images and masks.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Cases to choose.")] = 10,
    strategy: Annotated[
        Literal["random", "diverse", "entropy", "bald", "mirror", "coreset", "mixed"],
        typer.Option(help="How they are chosen; see the documentation."),
    ] = "diverse",
    labelled: Annotated[
        list[Path] | None,
        typer.Option(help="Cases that have labels already, to keep away from."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder that keeps what was seen, for the next time.")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list-only", help="Print the choice; write nothing.")
    ] = False,
    allow_gaps: AllowGaps = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks run.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Choose the unlabelled cases that are worth a doctor's time, with masks to correct."""
    with reporting(as_json=as_json) as console:
        from medseg.allocator import keep_freed_memory

        keep_freed_memory()

        from medseg.bundle import load_bundle
        from medseg.continual.active import select as choose
        from medseg.continual.active_worklist import require_new, write_worklist
        from medseg.inference.inputs import find_inputs

        if not list_only:
            require_new(out)
        bundle = load_bundle(model)
        cases = find_inputs(pool, allow_gaps=allow_gaps, progress=console.progress)
        known = find_inputs(labelled) if labelled else ()
        chosen = choose(
            bundle, cases, count, strategy=strategy, labelled=known, seed=seed, folder=keep,
            device=device, progress=console.progress,
        )  # fmt: skip
        if not list_only:
            write_worklist(chosen, cases, bundle, out, device=device, progress=console.progress)
        _say(console, chosen, None if list_only else out)


def _say(console: Console, chosen: "Selection", out: Path | None) -> None:
    for case, message in chosen.unread.items():
        console.complain("case", f"{case}: {message}")
    rows = [
        [str(one.rank), one.case, "" if one.score is None else f"{one.score:.4g}",
         "" if one.predicted_dice is None else f"{one.predicted_dice:.3f}"]
        for one in chosen.chosen
    ]  # fmt: skip
    console.table(
        f"{len(rows)} of {chosen.pool} cases, by {chosen.strategy}",
        ["rank", "case", "score", "predicted Dice"],
        rows,
    )
    if out is not None:
        console.say(f"List: {out / 'worklist.csv'}")
        console.say(f"Images and masks to correct: {out}")
    console.result({"out": None if out is None else str(out), **chosen.model_dump()})
