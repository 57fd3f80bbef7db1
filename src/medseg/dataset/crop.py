"""What is empty around an image is cut off, and what is no number is refused."""

import numpy as np

from medseg.errors import DatasetError
from medseg.types import AnyArray, GridSize, Mask
from medseg.volume.volume import LabelMap, Volume

LARGEST_VALUE = 1e18
"""Squares of larger numbers leave the range of float32, in which all computing is done."""


def require_finite(volume: Volume) -> None:
    """Pass if every value is a finite number that float32 can be computed with.

    Raises:
        DatasetError: If not; the message counts the others.
    """
    if volume.array.dtype.kind != "f":
        return
    if max(volume.array.max(), -volume.array.min()) <= LARGEST_VALUE:
        return
    wrong = count_useless(volume.array)
    raise DatasetError(
        f"Each voxel of {name_of(volume)} must hold a finite number, up to {LARGEST_VALUE:g}.",
        received=f"{wrong} voxels of {volume.array.size} are not a number, infinite or larger",
        cure="Repair the file or leave the case out; medseg dataset check lists all of them.",
    )


def count_useless(array: AnyArray) -> int:
    """How many values are not a number, infinite or too large."""
    return int(array.size - (np.abs(array) <= LARGEST_VALUE).sum())


def nonzero_mask(volume: Volume) -> Mask:
    """Where any channel is not 0, shape (I, J, K)."""
    mask: Mask = volume.array[0] != 0
    for channel in volume.array[1:]:
        mask |= channel != 0
    return mask


def filled(mask: Mask) -> Mask:
    """A mask with its holes: what is false and not joined, by faces, to what lies around the grid.

    Source:
        nnU-Net v2, `create_nonzero_mask`: black voxels within a head count as the head.
    """
    from scipy.ndimage import label  # slow to load

    parts, _ = label(np.pad(~mask, 1, constant_values=True))
    inside = parts[1:-1, 1:-1, 1:-1]
    return np.asarray(inside != parts[0, 0, 0])


def bounding_box(mask: Mask) -> tuple[GridSize, GridSize]:
    """Start and size of the smallest box around a mask; the whole grid if the mask is empty."""
    spans = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        spans.append(
            (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, mask.shape[axis])
        )
    (i0, i1), (j0, j1), (k0, k1) = spans
    return (i0, j0, k0), (i1 - i0, j1 - j0, k1 - k0)


def crop_volume(volume: Volume, start: GridSize, size: GridSize) -> Volume:
    """The part of a volume inside a box."""
    array = cut(volume.array, start, size)
    geometry = volume.geometry.cropped(start, size)
    return Volume(array, geometry, volume.channel_names, volume.source)


def crop_label_map(label_map: LabelMap, start: GridSize, size: GridSize) -> LabelMap:
    """The part of a label map inside a box."""
    array = cut(label_map.array, start, size)
    geometry = label_map.geometry.cropped(start, size)
    return LabelMap(array, geometry, label_map.labels, label_map.source)


def cut(array: AnyArray, start: GridSize, size: GridSize) -> AnyArray:
    """A box of the last three axes, as a view."""
    i, j, k = (slice(s, s + n) for s, n in zip(start, size, strict=True))
    return np.asarray(array[..., i, j, k])


def name_of(volume: Volume) -> str:
    """What to call a volume in a message."""
    return volume.source.paths[0].name if volume.source.paths else "the case"
