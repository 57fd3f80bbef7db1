"""Slices of a case as small pictures: grey values as a PNG, outlines as paths over it.

All slices are shown as radiologists hang them: the patient's right on the left, front on top (or
the head on top, where the plane is not axial).
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from contourpy import LineType, contour_generator
from PIL import Image

from medseg.types import AnyArray, FloatArray, IntArray, SpacingMm
from medseg.volume.labels import Labels, colour_of
from medseg.volume.volume import LabelMap, Volume

Grey = npt.NDArray[np.uint8]
"""Pixels to show, shape (rows, columns) or (rows, columns, 3)."""

HANGING = "LPI"
"""Axes of shown volumes: columns to the Left, rows to the Posterior or the Inferior side."""

PLANES = ("sagittal", "coronal", "axial")
"""Plane across the first, second and third axis of a volume that hangs."""

_LETTERS = (("A", "P", "S", "I"), ("R", "L", "S", "I"), ("R", "L", "A", "P"))
"""Left, right, top and bottom side of each plane."""

_MARGIN = 0.35
_SMALLEST_MM = 40.0
_SOFT_TISSUE_HU = (-160.0, 240.0)
_LARGEST_PNG_PIXELS = 200 * 200


@dataclass(frozen=True, eq=False)
class Cut:
    """Which part of a volume is shown.

    Attributes:
        axis: The axis that the plane stands across.
        index: Where along it.
        rows: First and last + 1 row.
        columns: First and last + 1 column.
    """

    axis: int
    index: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    def of(self, array: AnyArray) -> AnyArray:
        """The pixels of (I, J, K) or (C, I, J, K), as (rows, columns) or (C, rows, columns)."""
        plane: AnyArray = np.take(array, self.index, axis=self.axis + array.ndim - 3)
        plane = np.swapaxes(plane, -1, -2)
        return plane[..., self.rows[0] : self.rows[1], self.columns[0] : self.columns[1]]

    def pixel_mm(self, spacing_mm: SpacingMm) -> tuple[float, float]:
        """Width and height of a pixel."""
        across = [step for axis, step in enumerate(spacing_mm) if axis != self.axis]
        return across[0], across[1]

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Which side of the patient lies left, right, on top and at the bottom."""
        return _LETTERS[self.axis]


def best_plane(spacing_mm: SpacingMm, grid_size: Sequence[int]) -> int:
    """The axis across which slices show most: the coarsest; of equal ones the last."""
    if min(grid_size) == 1:
        return max(axis for axis in range(3) if grid_size[axis] == 1)
    coarsest = max(spacing_mm)
    return max(axis for axis in range(3) if spacing_mm[axis] > 0.99 * coarsest)


def cut_through(wrong: AnyArray, shown: AnyArray, spacing_mm: SpacingMm) -> Cut:
    """The slice with most of `wrong`, cropped around all of `shown`.

    Args:
        wrong: Boolean, shape (I, J, K): what shall be seen; where it is empty `shown` decides.
        shown: Boolean, shape (I, J, K): what shall lie within the picture.
        spacing_mm: Distance between voxel centres.
    """
    axis = best_plane(spacing_mm, wrong.shape)
    others = tuple(other for other in range(3) if other != axis)
    weight = wrong if wrong.any() else shown
    index = int(np.argmax(weight.sum(axis=others)))
    columns, rows = (_around(shown, other, spacing_mm[other]) for other in others)
    return Cut(axis, index, rows, columns)


def _around(shown: AnyArray, axis: int, step_mm: float) -> tuple[int, int]:
    """First and last + 1 index along an axis, with a margin around what is shown."""
    size = shown.shape[axis]
    found = np.flatnonzero(shown.any(axis=tuple(other for other in range(3) if other != axis)))
    if found.size == 0:
        return 0, size
    low, high = int(found[0]), int(found[-1]) + 1
    margin = max((high - low) * _MARGIN, (_SMALLEST_MM / step_mm - (high - low)) / 2)
    return max(0, int(low - margin)), min(size, int(np.ceil(high + margin)))


def shown_range(volume: Volume) -> tuple[float, float]:
    """Darkest and brightest value worth showing.

    CT gets the window of soft tissue, -160 to 240 HU; other images the range from the 1st to the
    99.5th percentile of what is not their least value.
    """
    values = volume.array[0][np.isfinite(volume.array[0])]
    if values.size == 0:
        return 0.0, 1.0
    least, most = float(values.min()), float(values.max())
    if "CT" in (volume.source.modality, volume.channel_names[0]) or (least < -900 and most > 300):
        return _SOFT_TISSUE_HU
    values = values[values > least]
    if values.size == 0:
        return least - 1.0, least + 1.0
    low, high = np.percentile(values, (1.0, 99.5))
    return float(low), float(max(high, low + 1e-6))


def grey(pixels: FloatArray, low: float, high: float) -> Grey:
    """Values between `low` and `high` as 0 to 255."""
    share = (np.nan_to_num(np.asarray(pixels, np.float32)) - low) / (high - low)
    return np.asarray(np.clip(share * 255, 0, 255).astype(np.uint8))


def picture_of(volume: Volume, cut: Cut) -> Grey:
    """A slice of the first channel in grey, or of three channels of bytes in colour."""
    pixels = cut.of(volume.array)
    if pixels.shape[0] == 3 and pixels.dtype == np.uint8:
        brightest = max(float(np.percentile(volume.array, 99.9)), 1.0)
        return np.ascontiguousarray(np.moveaxis(grey(pixels, 0.0, brightest), 0, -1))
    return grey(pixels[0], *shown_range(volume))


def data_uri(pixels: Grey) -> str:
    """Pixels as an address that holds them: PNG where small, JPEG where large."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if pixels.shape[-1] != 4 and pixels.shape[0] * pixels.shape[1] > _LARGEST_PNG_PIXELS:
        image.save(buffer, "JPEG", quality=88, optimize=True)
        kind = "jpeg"
    else:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def outlines(mask: AnyArray) -> list[npt.NDArray[np.float64]]:
    """Closed lines around a mask (rows, columns), as points (n, 2) of x and y in pixels.

    Pixel (0, 0) reaches from 0 to 1 in both directions.
    """
    padded = np.pad(mask.astype(np.float64), 1)
    generator = contour_generator(z=padded, line_type=LineType.Separate)
    return [np.asarray(line) - 0.5 for line in generator.lines(0.5)]


def svg_path(mask: AnyArray) -> str:
    """The outlines of a mask as the `d` of an SVG path, in half pixels.

    An outline runs through the middles between pixels: in half pixels all its points are whole
    numbers, and of a straight run only the ends are kept, so the path is short and exact.
    """
    parts = []
    for line in outlines(mask):
        points = np.rint(line * 2).astype(int)
        steps = np.diff(points, axis=0)
        turns = np.flatnonzero((steps[1:] != steps[:-1]).any(axis=1)) + 1
        corners = points[[0, *turns.tolist()]]
        moves = " ".join(map(str, np.diff(corners, axis=0).ravel().tolist()))
        parts.append(f"M{corners[0, 0]} {corners[0, 1]}l{moves}z")
    return "".join(parts)


@dataclass(frozen=True)
class Outline:
    """A structure in a slice.

    Attributes:
        name: Of the structure.
        colour: Of its line.
        path: Its outlines as the `d` of an SVG path, in half pixels.
    """

    name: str
    colour: str
    path: str


def outlines_of(label_map: LabelMap, labels: Labels, cut: Cut) -> list[Outline]:
    """Each structure that the slice shows."""
    pixels: IntArray = cut.of(label_map.array)
    return [
        Outline(label.name, colour_of(labels, label), svg_path(pixels == label.value))
        for label in labels
        if (pixels == label.value).any()
    ]
