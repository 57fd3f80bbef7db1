"""One case at the slice where it went most wrong: image, reference, prediction and difference."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import MedsegError
from medseg.report.plots.slices import (
    HANGING,
    PLANES,
    Cut,
    Outline,
    cut_through,
    data_uri,
    outlines_of,
    picture_of,
)
from medseg.report.scores.masks import read_pair
from medseg.report.scores.pairs import Pair
from medseg.types import AnyArray
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume
from medseg.volume.labels import Labels
from medseg.volume.volume import LabelMap, Volume

if TYPE_CHECKING:
    from medseg.dataset.description import DatasetDescription

MISSED_COLOUR, ADDED_COLOUR, CONFUSED_COLOUR = "#d55e00", "#56b4e9", "#cc79a7"
"""Colours of the difference: reference only, prediction only, another structure."""


@dataclass(frozen=True)
class Triptych:
    """What a page needs to draw a case.

    Attributes:
        case: Its name.
        width_mm: Width of a panel.
        height_mm: Its height.
        pixel_mm: Width and height of a pixel.
        image: The slice as a data address, or "" where no image was found.
        reference: Each structure in the slice.
        predicted: The same of the prediction.
        difference: Wrong voxels as a transparent picture, as a data address.
        letters: Sides of the patient: left, right, top and bottom; empty for a 2D image.
        where: Which slice, in words.
    """

    case: str
    width_mm: float
    height_mm: float
    pixel_mm: tuple[float, float]
    image: str
    reference: list[Outline]
    predicted: list[Outline]
    difference: str
    letters: tuple[str, ...]
    where: str


def draw_case(pair: Pair, dataset: "DatasetDescription | None", labels: Labels) -> Triptych:
    """Read a case again and cut it where prediction and reference differ most.

    Raises:
        MedsegError: If a mask can no longer be read.
    """
    return draw_pair(pair, dataset, read_pair(pair, dataset, labels), labels)


def draw_pair(
    pair: Pair,
    dataset: "DatasetDescription | None",
    masks: tuple[LabelMap | None, LabelMap],
    labels: Labels,
) -> Triptych:
    """The same of masks that were read before; the image is looked for.

    Args:
        pair: The files.
        dataset: The data set that the references are, if they are one.
        masks: The prediction, on the grid of the reference, and the reference.
        labels: The structures to show.
    """
    predicted, reference = masks
    volume = _image(pair, dataset, reference.geometry)
    return draw(pair.case, predicted or _empty_like(reference), reference, volume, labels)


def draw(
    case: str, predicted: LabelMap, reference: LabelMap, volume: Volume | None, labels: Labels
) -> Triptych:
    """A case at the slice with most wrong voxels.

    Args:
        case: Its name.
        predicted: The prediction, on the grid of the reference.
        reference: The reference.
        volume: The image on the same grid, if it is known.
        labels: The structures to show.
    """
    predicted, reference = predicted.reoriented(HANGING), reference.reoriented(HANGING)
    wrong = predicted.array != reference.array
    shown = (predicted.array > 0) | (reference.array > 0)
    cut = cut_through(wrong, shown, reference.spacing_mm)
    width, height = cut.pixel_mm(reference.spacing_mm)
    return Triptych(
        case=case,
        width_mm=(cut.columns[1] - cut.columns[0]) * width,
        height_mm=(cut.rows[1] - cut.rows[0]) * height,
        pixel_mm=(width, height),
        image=data_uri(picture_of(volume.reoriented(HANGING), cut)) if volume else "",
        reference=outlines_of(reference, labels, cut),
        predicted=outlines_of(predicted, labels, cut),
        difference=data_uri(_difference(cut.of(predicted.array), cut.of(reference.array))),
        letters=() if reference.geometry.is_2d else cut.letters,
        where=_where(cut, reference.geometry, wrong),
    )


def _difference(predicted: AnyArray, reference: AnyArray) -> AnyArray:
    """Wrong pixels in colour, right ones transparent, shape (rows, columns, 4)."""
    pixels = np.zeros((*predicted.shape, 4), np.uint8)
    kinds = (
        ((predicted == 0) & (reference > 0), MISSED_COLOUR),
        ((predicted > 0) & (reference == 0), ADDED_COLOUR),
        ((predicted > 0) & (reference > 0) & (predicted != reference), CONFUSED_COLOUR),
    )
    for mask, colour in kinds:
        pixels[mask] = (*bytes.fromhex(colour[1:]), 255)
    return pixels


def _where(cut: Cut, geometry: Geometry, wrong: AnyArray) -> str:
    if geometry.is_2d:
        return "The whole image"
    why = "where most voxels are wrong" if wrong.any() else "where most of it lies"
    number, of = cut.index + 1, geometry.grid_size[cut.axis]
    return f"{PLANES[cut.axis].capitalize()} slice {number} of {of}, {why}"


def _image(pair: Pair, dataset: "DatasetDescription | None", grid: Geometry) -> Volume | None:
    """The image on the grid of the reference, or None where none is found there."""
    try:
        if pair.entry is not None and dataset is not None:
            from medseg.dataset.description import read_case

            volume = read_case(dataset, pair.entry)
        elif pair.image is not None:
            volume = read_image(pair.image)
        else:
            return None
        if not volume.geometry.same_space(grid):
            volume = volume.reoriented(grid.orientation)
    except MedsegError:
        return None
    return volume if volume.geometry.same_space(grid) else None


def read_image(path: Path) -> Volume:
    """An image file, or the one series of a DICOM folder.

    Raises:
        MedsegError: If it cannot be read.
    """
    if path.is_dir():
        from medseg.volume.dicom import read_series

        return read_series(path)
    return read_volume(path)


def _empty_like(reference: LabelMap) -> LabelMap:
    return LabelMap(np.zeros_like(reference.array), reference.geometry, reference.labels)
