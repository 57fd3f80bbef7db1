"""Slices of a result as PNG files, as radiologists hang them, with the mask in colour over them."""

import io
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.errors import NotHeld
from medseg.report.plots.slices import HANGING, PLANES, Cut, Grey, grey, shown_range
from medseg.types import AnyArray, IntArray, SpacingMm
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, read_volume
from medseg.volume.labels import Labels, colour_of
from medseg.volume.volume import Volume

Plane = Literal["sagittal", "coronal", "axial"]
"""Planes across the first, second and third axis of a volume that hangs."""

assert get_args(Plane) == PLANES

_MOST_SAMPLED = 1 << 21
_MM_PER_INCH = 25.4
_KEPT_BYTES = 1 << 28


@dataclass(frozen=True)
class ResultFiles:
    """A published result.

    Attributes:
        folder: Holds `image.nii.gz` and `mask.nii.gz`; its content never changes.
        labels: What the values of the mask mean.
    """

    folder: Path
    labels: Labels


@dataclass(frozen=True)
class Stack:
    """The slices of one plane.

    Attributes:
        count: How many there are.
        rows: Of each.
        columns: Of each.
        pixel_mm: Width and height of a pixel.
        letters: Which side of the patient lies left, right, on top and at the bottom.
        fullest: The slice with most voxels of the mask; the middle one if it is empty.
    """

    count: int
    rows: int
    columns: int
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    fullest: int


@dataclass(frozen=True, eq=False)
class Hung:
    """An image and its mask as they are shown: the patient's right on the left, head on top.

    Attributes:
        shown: Grey values, uint8, shape (C, I, J, K) with one channel, or three of colour.
        values: The mask, shape (I, J, K), along the axes of `HANGING`.
        spacing_mm: Distance between voxel centres.
        palette: Colour of each value of the mask, uint8, shape (largest value + 1, 3).
    """

    shown: npt.NDArray[np.uint8]
    values: IntArray
    spacing_mm: SpacingMm
    palette: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, result: ResultFiles) -> "Hung":
        """Read the files of a result.

        Raises:
            MissingPath: If a file is not there.
            UnreadableFile: If one is damaged.
            LabelError: If the mask holds a value that `labels` does not name.
            DifferentSpace: If image and mask lie on different grids.
        """
        image = read_volume(result.folder / "image.nii.gz")
        mask = read_label_map(result.folder / "mask.nii.gz", result.labels)
        image.geometry.require_same_space(mask.geometry, what="the image and its mask")
        hung = image.reoriented(HANGING)
        palette = np.zeros((1 + max((x.value for x in mask.labels), default=0), 3), np.uint8)
        for label in mask.labels:
            palette[label.value] = np.frombuffer(
                bytes.fromhex(colour_of(mask.labels, label)[1:]), np.uint8
            )
        return cls(_shown(hung), mask.reoriented(HANGING).array, hung.spacing_mm, palette)

    @property
    def size_bytes(self) -> int:
        """Memory that it holds."""
        return self.shown.nbytes + self.values.nbytes

    def stack(self, plane: Plane) -> Stack:
        """What slices a plane has."""
        axis = PLANES.index(plane)
        columns, rows = (size for n, size in enumerate(self.values.shape) if n != axis)
        others = tuple(n for n in range(3) if n != axis)
        marked = np.count_nonzero(self.values, axis=others)
        count = self.values.shape[axis]
        cut = self._cut(plane, 0)
        return Stack(
            count=count,
            rows=rows,
            columns=columns,
            pixel_mm=cut.pixel_mm(self.spacing_mm),
            letters=cut.letters,
            fullest=int(np.argmax(marked)) if marked.any() else count // 2,
        )

    def png(self, plane: Plane, index: int, *, opacity: float, hidden: frozenset[int]) -> bytes:
        """One slice; the file says how wide and high its pixels are.

        Args:
            plane: Which way it is cut.
            index: Which slice, from 0: from the right, the front or the head.
            opacity: Of the mask, 0 to 1.
            hidden: Values of the mask that are not shown.

        Raises:
            NotHeld: If there is no such slice.
        """
        count = self.values.shape[PLANES.index(plane)]
        if not 0 <= index < count:
            raise NotHeld(
                f"This result has {count} {plane} slices, counted from 0.",
                received=f"slice {index}",
                cure="Ask for one of them.",
            )
        cut = self._cut(plane, index)
        pixels = self._painted(cut, opacity, hidden)
        width_mm, height_mm = cut.pixel_mm(self.spacing_mm)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(
            buffer, "PNG", compress_level=1, dpi=(_MM_PER_INCH / width_mm, _MM_PER_INCH / height_mm)
        )
        return buffer.getvalue()

    def _cut(self, plane: Plane, index: int) -> Cut:
        axis = PLANES.index(plane)
        columns, rows = (size for n, size in enumerate(self.values.shape) if n != axis)
        return Cut(axis, index, (0, rows), (0, columns))

    def _painted(self, cut: Cut, opacity: float, hidden: frozenset[int]) -> Grey:
        """Grey (rows, columns) where nothing is marked, otherwise colour (rows, columns, 3)."""
        channels, values = cut.of(self.shown), cut.of(self.values)
        shares = np.full(len(self.palette), opacity, np.float32)
        shares[0] = 0.0
        shares[[value for value in hidden if 0 <= value < len(shares)]] = 0.0
        share = shares[values][..., np.newaxis]
        if channels.shape[0] == 1 and not share.any():
            return np.ascontiguousarray(channels[0])
        under = np.moveaxis(np.broadcast_to(channels, (3, *channels.shape[1:])), 0, -1)
        mixed = under * (1 - share) + self.palette[values] * share
        return np.asarray(np.rint(mixed).astype(np.uint8))


def _shown(hung: Volume) -> npt.NDArray[np.uint8]:
    """The first channel in grey, or three channels of bytes as they are."""
    if hung.array.shape[0] == 3 and hung.array.dtype == np.uint8:
        return np.ascontiguousarray(hung.array)
    low, high = shown_range(_sampled(hung))
    first = hung.array[0]
    shown = np.empty((1, *first.shape), np.uint8)
    for k in range(first.shape[2]):
        shown[0, :, :, k] = grey(first[:, :, k], low, high)
    return shown


def _sampled(volume: Volume) -> Volume:
    """Every n-th voxel along each axis, so that percentiles of a large volume take no time."""
    step = int(np.ceil(max(1.0, volume.array[0].size / _MOST_SAMPLED) ** (1 / 3)))
    array: AnyArray = volume.array[:, ::step, ::step, ::step]
    i, j, k = array.shape[1:]
    return replace(volume, array=array, geometry=Geometry(volume.geometry.affine, (i, j, k)))


class HungResults:
    """Results that were looked at last, kept in memory so that the next slice costs nothing.

    Args:
        kept_bytes: What all of them together may hold; the last one is kept in any case.
    """

    def __init__(self, kept_bytes: int = _KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[Path, Hung] = OrderedDict()
        self._lock = Lock()

    def of(self, result: ResultFiles) -> Hung:
        """A result as it hangs, read once; whoever asks meanwhile waits.

        Raises:
            MedsegError: As `Hung.of`.
        """
        with self._lock:
            hung = self._kept.get(result.folder)
            if hung is None:
                hung = Hung.of(result)
                self._kept[result.folder] = hung
            self._kept.move_to_end(result.folder)
            while len(self._kept) > 1 and self._held_bytes() > self._kept_bytes:
                self._kept.popitem(last=False)
        return hung

    def _held_bytes(self) -> int:
        return sum(hung.size_bytes for hung in self._kept.values())
