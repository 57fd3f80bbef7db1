"""An image of one slice with the outlines of its masks, as one page."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.errors import InvalidGeometry
from medseg.files import write_text
from medseg.report.html import render
from medseg.report.plots.slices import (
    HANGING,
    Cut,
    best_plane,
    data_uri,
    outlines,
    picture_of,
    svg_path,
)
from medseg.report.scene.scene import colours_of
from medseg.volume.labels import make_labels
from medseg.volume.volume import LabelMap, Volume

_PAPER, _INK = "#f7f8f8", "#16191d"
_WIDTH, _KEYS_IN_A_ROW = 10.0, 6
_LINES: Any = ("-", (0, (3, 2)))
"""Line styles of the first and the second map."""


def write_flat(
    path: Path, *, image: Volume, masks: Mapping[str, LabelMap], title: str = ""
) -> None:
    """Write a page with a picture and the outlines of one or two label maps.

    Args:
        path: The page.
        image: Of one slice; its first channel is shown, or all three of a colour picture.
        masks: On the image's grid, by what they are; the second one's outlines are dashed.
        title: Name of the case.

    Raises:
        InvalidGeometry: If the image has several slices.
        DifferentSpace: If a mask lies on another grid.
        CannotWrite: If the page cannot be written.
    """
    if min(image.geometry.grid_size) > 1:
        raise InvalidGeometry(
            "A flat page shows an image of one slice.",
            received=" x ".join(map(str, image.geometry.grid_size)) + " voxels",
            cure="Write a scene instead.",
        )
    for name, mask in masks.items():
        image.geometry.require_same_space(mask.geometry, what=f"the image and the {name}")
    hung = image.reoriented(HANGING)
    cut = _whole(hung)
    rows, columns = cut.rows[1], cut.columns[1]
    width_mm, height_mm = cut.pixel_mm(hung.spacing_mm)
    content = {
        "title": title or "A picture",
        "address": data_uri(picture_of(hung, cut)),
        "columns": columns,
        "rows": rows,
        "width": columns * width_mm,
        "height": rows * height_mm,
        "maps": tuple(masks),
        "structures": _structures(masks, cut),
        "empty": [name for name, mask in masks.items() if not mask.array.any()],
        "channel": image.channel_names[0] if image.array.shape[0] not in (1, 3) else "",
    }
    write_text(path, render("flat.html.j2", content))


def flat_png(image: Volume, masks: Mapping[str, LabelMap], *, title: str = "") -> bytes:
    """A picture with outlines and a legend as a PNG of 1000 pixels in width.

    Args:
        image: Of one slice.
        masks: On its grid, by what they are; the second one's outlines are dashed.
        title: Name of the case.
    """
    hung = image.reoriented(HANGING)
    cut = _whole(hung)
    width_mm, height_mm = cut.pixel_mm(hung.spacing_mm)
    high = _WIDTH * cut.rows[1] * height_mm / (cut.columns[1] * width_mm)
    rows = _structures(masks, cut)
    keys = [Line2D([], [], color=row["colour"], linewidth=4, label=row["name"]) for row in rows]
    if len(masks) > 1:
        keys += [
            Line2D([], [], color=_INK, linestyle=line, label=name)
            for line, name in zip(_LINES, masks, strict=True)
        ]
    below, above = 0.3 * -(-len(keys) // _KEYS_IN_A_ROW), 0.35 if title else 0.0
    whole = high + below + above
    figure = Figure(figsize=(_WIDTH, whole), dpi=100, facecolor=_PAPER)
    axes = figure.add_axes((0, below / whole, 1, high / whole))
    axes.set_axis_off()
    pixels = picture_of(hung, cut)
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
    for line, mask in zip(_LINES, masks.values(), strict=False):
        plane = cut.of(mask.reoriented(HANGING).array)
        for row in rows:
            for points in outlines(plane == row["value"]):
                axes.plot(*points.T, color=row["colour"], linestyle=line, linewidth=1.8)
    if title:
        place = (0.12 / _WIDTH, 1 - above / 2 / whole)
        figure.text(*place, title, color=_INK, size=11, va="center", weight="bold")
    if keys:
        figure.legend(
            handles=keys, loc="lower center", ncols=min(len(keys), _KEYS_IN_A_ROW), frameon=False,
            labelcolor=_INK, fontsize=9, borderaxespad=0.2,
        )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor=_PAPER, metadata={"Software": None})
    return buffer.getvalue()


def _whole(hung: Volume) -> Cut:
    """All of the only slice."""
    axis = best_plane(hung.spacing_mm, hung.geometry.grid_size)
    columns, rows = (size for n, size in enumerate(hung.geometry.grid_size) if n != axis)
    return Cut(axis, 0, (0, rows), (0, columns))


def _structures(masks: Mapping[str, LabelMap], cut: Cut) -> list[dict[str, Any]]:
    """Each structure that a map holds: name, colour, and in each map its pixels and outlines."""
    by_value = {
        label.value: label for mask in reversed(list(masks.values())) for label in mask.labels
    }
    labels = make_labels(by_value.values())
    colours = colours_of(labels)
    planes = [cut.of(mask.reoriented(HANGING).array) for mask in masks.values()]
    rows = []
    for label in labels:
        held = [plane == label.value for plane in planes]
        pixels = [int(np.count_nonzero(one)) for one in held]
        if any(pixels):
            paths = [svg_path(one) for one in held]
            rows.append(
                {"value": label.value, "name": label.name, "colour": colours[label.value],
                 "pixels": pixels, "paths": paths}
            )  # fmt: skip
    return rows
