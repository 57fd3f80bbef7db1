"""Slices through a volume with the outlines of its masks, as one picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.files import atomic_file
from medseg.report.plots.slices import (
    HANGING,
    PLANES,
    Cut,
    Outline,
    cut_through,
    data_uri,
    outlines,
    outlines_of,
    picture_of,
)
from medseg.types import AnyArray, SpacingMm
from medseg.volume.labels import colour_of
from medseg.volume.volume import LabelMap, Volume

_PAPER, _INK = "#0b0d10", "#e8eaed"
_LINES: Any = ("-", (0, (2, 1.2)))
"""Line styles of the first and the second map."""

_TILE_INCHES, _LEGEND_INCHES, _TITLE_INCHES = 2.4, 0.42, 0.4


@dataclass(frozen=True)
class Slice:
    """A slice for a page.

    Attributes:
        where: Which one, in words.
        width_mm: Its width.
        height_mm: Its height.
        pixel_mm: Width and height of a pixel.
        image: Grey values as a data address, or "" without an image.
        outlines: Each structure in it.
        letters: Sides of the patient: left, right, top and bottom; empty for a 2D image.
    """

    where: str
    width_mm: float
    height_mm: float
    pixel_mm: tuple[float, float]
    image: str
    outlines: list[Outline]
    letters: tuple[str, ...]


def slices_through(volume: Volume | None, mask: LabelMap, count: int) -> list[Slice]:
    """Slices evenly through what a mask holds, for a page.

    Args:
        volume: The image on the same grid, if it is known.
        mask: The mask.
        count: How many slices, at most.

    Raises:
        DifferentSpace: If the image lies on another grid.
    """
    if volume is not None:
        volume.geometry.require_same_space(mask.geometry, what="an image and its mask")
    image, hung = volume.reoriented(HANGING) if volume else None, mask.reoriented(HANGING)
    cuts = _cuts(hung.array.shape, hung.spacing_mm, [hung], count)
    found = []
    for cut in cuts:
        width, height = cut.pixel_mm(hung.spacing_mm)
        number, of = cut.index + 1, hung.array.shape[cut.axis]
        found.append(
            Slice(
                where=f"{PLANES[cut.axis].capitalize()} {number} of {of}" if of > 1 else "",
                width_mm=(cut.columns[1] - cut.columns[0]) * width,
                height_mm=(cut.rows[1] - cut.rows[0]) * height,
                pixel_mm=(width, height),
                image=data_uri(picture_of(image, cut)) if image else "",
                outlines=outlines_of(hung, hung.labels, cut),
                letters=() if hung.geometry.is_2d else cut.letters,
            )
        )
    return found


def save_overlay(figure: Figure, path: Path, *, dots_per_inch: int = 144) -> None:
    """Write a montage as PNG.

    Raises:
        CannotWrite: If the file cannot be written.
    """
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=dots_per_inch, facecolor=figure.get_facecolor())


def overlay(
    volume: Volume,
    *masks: LabelMap,
    names: Sequence[str] = (),
    slices: int = 8,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """Slices through a volume with the outlines of one or two label maps.

    The outlines of the second map are dashed, so that a prediction is seen over its reference.

    Args:
        volume: The image; its first channel is shown, or all three of a colour picture.
        masks: Label maps on the same grid, with the same labels.
        names: What each map is, for the legend: "reference", "prediction".
        slices: How many, evenly through what the maps hold.
        columns: How many in a row.
        title: What stands above.

    Raises:
        DifferentSpace: If a map lies on another grid than the image.
    """
    for mask in masks:
        volume.geometry.require_same_space(mask.geometry, what="an image and its mask")
    image, maps = volume.reoriented(HANGING), [mask.reoriented(HANGING) for mask in masks]
    cuts = _cuts(image.array.shape[1:], image.spacing_mm, maps, slices)
    figure, tiles = _tiles(cuts, image, columns, title)
    for cut, axes in zip(cuts, tiles, strict=True):
        _draw_slice(axes, cut, image, maps)
    _add_legend(figure, maps, names)
    return figure


def _cuts(
    grid_size: Sequence[int], spacing_mm: SpacingMm, maps: Sequence[LabelMap], slices: int
) -> list[Cut]:
    """Evenly through the slices that hold a structure, from the top of the patient down."""
    shown: AnyArray = np.zeros(tuple(grid_size), bool)
    for one in maps:
        shown = shown | (one.array > 0)
    if not shown.any():
        shown = ~shown
    middle = cut_through(shown, shown, spacing_mm)
    others = tuple(axis for axis in range(3) if axis != middle.axis)
    held = np.flatnonzero(shown.any(axis=others))
    places = np.linspace(held[0], held[-1], min(slices, held.size) + 2)[1:-1]
    if held.size <= slices:
        places = np.linspace(held[0], held[-1], held.size)
    return [replace(middle, index=round(float(place))) for place in places]


def _tiles(
    cuts: Sequence[Cut], image: Volume, columns: int, title: str
) -> tuple[Figure, list[Axes]]:
    """An empty dark figure with a place for each slice."""
    columns = min(columns, len(cuts))
    rows = -(-len(cuts) // columns)
    width_mm, height_mm = cuts[0].pixel_mm(image.spacing_mm)
    across = (cuts[0].columns[1] - cuts[0].columns[0]) * width_mm
    down = (cuts[0].rows[1] - cuts[0].rows[0]) * height_mm
    above = _TITLE_INCHES if title else 0.0
    height = rows * _TILE_INCHES * down / across + _LEGEND_INCHES + above
    figure = Figure(figsize=(_TILE_INCHES * columns, height), facecolor=_PAPER)
    if title:
        figure.suptitle(title, color=_INK, fontsize=12, y=1 - 0.1 / height, va="top")
    grid = figure.add_gridspec(
        rows, columns, left=0, right=1, wspace=0.015, hspace=0.015,
        bottom=_LEGEND_INCHES / height, top=1 - above / height,
    )  # fmt: skip
    tiles = [figure.add_subplot(grid[n // columns, n % columns]) for n in range(len(cuts))]
    return figure, tiles


def _draw_slice(axes: Axes, cut: Cut, image: Volume, maps: Sequence[LabelMap]) -> None:
    width_mm, height_mm = cut.pixel_mm(image.spacing_mm)
    pixels = picture_of(image, cut)
    axes.set_axis_off()
    axes.imshow(
        pixels, cmap="gray", vmin=0, vmax=255, aspect=height_mm / width_mm,
        extent=(0, pixels.shape[1], pixels.shape[0], 0), interpolation="bicubic",
    )  # fmt: skip
    for n, one in enumerate(maps):
        held = cut.of(one.array)
        for label in one.labels:
            for line in outlines(held == label.value):
                axes.plot(
                    line[:, 0], line[:, 1], color=colour_of(one.labels, label),
                    linewidth=1.8 if n == 0 else 1.4, linestyle=_LINES[min(n, 1)],
                )  # fmt: skip


def _add_legend(figure: Figure, maps: Sequence[LabelMap], names: Sequence[str]) -> None:
    """Colours are structures, line styles are maps."""
    keys = [
        Line2D([], [], color=colour_of(maps[0].labels, label), linewidth=3, label=label.name)
        for label in (maps[0].labels if maps else ())
    ]
    keys += [
        Line2D([], [], color=_INK, linestyle=_LINES[min(n, 1)], label=name)
        for n, name in enumerate(names)
    ]
    if keys:
        figure.legend(
            handles=keys, loc="lower center", ncols=len(keys), frameon=False, labelcolor=_INK,
            fontsize=10, handlelength=2.2, borderaxespad=0.3,
        )  # fmt: skip
