"""`medseg view`: a case in space, as one page that opens without a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.console import Console, reporting

if TYPE_CHECKING:
    from medseg.report.scene.viewed import Viewed


def view(
    case: Annotated[Path, typer.Argument(help="Image file or DICOM folder.")],
    mask: Annotated[
        Path | None, typer.Argument(help="Label map in any format, or a DICOM-SEG.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The page, one HTML file with everything within.")
    ] = Path("view.html"),
    reference: Annotated[
        Path | None, typer.Option(help="What the mask should be: shown beside or over it.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help='JSON with names and values: {"liver": 1}, a dataset.json or a bundle.'),
    ] = None,
    distance: Annotated[
        bool, typer.Option("--distance", help="Open with the distance in mm as colour.")
    ] = False,
    still: Annotated[
        Path | None, typer.Option(help="Also a PNG of the surfaces, drawn without a browser.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring masks onto the image's grid, by a vote.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Show an image and its mask in space: surfaces and slices that turn in any browser."""
    if reference is not None and mask is None:
        raise typer.BadParameter("--reference needs a MASK to stand beside.")
    if distance and reference is None:
        raise typer.BadParameter("--distance needs --reference: from what is it measured?")
    with reporting(as_json=as_json) as console:
        from medseg.report.scene.viewed import read_viewed
        from medseg.report.scores.names import read_labels

        viewed = read_viewed(
            case, mask, reference, labels=read_labels(labels) if labels else None,
            resample=resample, progress=console.progress,
        )  # fmt: skip
        if viewed.is_flat:
            facts = _write_flat(viewed, out, still)
        else:
            facts = _write_scene(viewed, out, still, console, distance=distance)
        for note in facts["notes"]:
            console.say(note)
        console.say(f"Page: {out.resolve()} ({out.stat().st_size / 1e6:.1f} MB)")
        if still is not None:
            console.say(f"Still: {still.resolve()}")
        console.result({"page": str(out), "bytes": out.stat().st_size, **facts})


def _write_scene(
    viewed: "Viewed", out: Path, still: Path | None, console: Console, *, distance: bool
) -> dict[str, Any]:
    from medseg.report.scene.scene3d import write_scene

    scene = write_scene(
        out, image=viewed.image, masks=viewed.masks, title=viewed.title, distance=distance,
        progress=console.progress,
    )  # fmt: skip
    if still is not None:
        from medseg.report.scene.still import scene_png

        with console.progress.task("Drawing the still", 1) as task:
            _write_bytes(still, scene_png(scene, distance=distance))
            task.advance()
    return {
        "triangles": scene.triangles,
        "structures": {
            shown.name: [surface.label.name for surface in shown.surfaces] for shown in scene.shown
        },
        "notes": list(scene.notes),
        "still": None if still is None else str(still),
    }


def _write_flat(viewed: "Viewed", out: Path, still: Path | None) -> dict[str, Any]:
    from medseg.report.scene.flat import flat_png, write_flat

    write_flat(out, image=viewed.image, masks=viewed.masks, title=viewed.title)
    if still is not None:
        _write_bytes(still, flat_png(viewed.image, viewed.masks, title=viewed.title))
    empty = [name for name, mask in viewed.masks.items() if not mask.array.any()]
    return {
        "triangles": 0,
        "structures": {
            name: [label.name for label in mask.labels] for name, mask in viewed.masks.items()
        },
        "notes": [f"The {name} is empty: it holds no structure." for name in empty],
        "still": None if still is None else str(still),
    }


def _write_bytes(path: Path, content: bytes) -> None:
    from medseg.files import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
