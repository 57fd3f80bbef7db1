"""Dilation, erosion, opening and closing by a ball: a threshold on the distance to a mask.

A voxel is in the dilation by a ball of radius r where the nearest voxel of the mask is at most r
away, so the work grows with the radius and not with the voxels of the ball. A structure goes on
beyond the edge of the patch as it is at the edge: erosion does not begin there.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.compiled import compiled
from medseg.types import IntArray, Mask

Operator = Literal["dilation", "erosion", "opening", "closing"]
"""What is done to a mask; opening is erosion then dilation, closing the other way round."""


def operated(mask: Mask, operator: Operator, radius_voxels: int) -> Mask:
    """A mask after one operator; the input stays as it is.

    Args:
        mask: Shape (I, J, K).
        operator: Which.
        radius_voxels: Of the ball, whose voxels are those at most so far from its middle.

    Source:
        Serra, Image Analysis and Mathematical Morphology, 1982.
    """
    if not mask.any():
        return mask.copy()
    from scipy.ndimage import find_objects  # slow to load

    (box,) = find_objects(mask.astype(np.uint8), 1)
    # One voxel beyond what a dilation reaches tells an erosion where it ends.
    reach = radius_voxels + 1
    grown = tuple(slice(max(0, axis.start - reach), axis.stop + reach) for axis in box)
    part = np.ascontiguousarray(mask[grown])
    if operator in ("erosion", "opening"):
        part = _eroded(part, radius_voxels)
    if operator != "erosion":
        part = _dilated(part, radius_voxels)
    if operator == "closing":
        part = _eroded(part, radius_voxels)
    result = np.zeros_like(mask)
    result[grown] = part
    return result


def _dilated(mask: Mask, radius: int) -> Mask:
    return np.asarray(_squared_distances(mask, radius) <= radius**2)


def _eroded(mask: Mask, radius: int) -> Mask:
    return np.asarray(_squared_distances(~mask, radius) > radius**2)


@compiled
def _squared_distances(mask: Mask, radius: int) -> IntArray:
    """Squared distance of each voxel to the mask in voxels, right up to radius^2 and larger beyond.

    Args:
        mask: Contiguous, shape (I, J, K).
        radius: How far is looked.

    Returns:
        int32, shape (I, J, K).
    """
    size_i, size_j, _ = mask.shape
    far = np.int32(radius * radius + 1)
    lines = np.empty(mask.shape, np.int32)
    for i in range(size_i):
        for j in range(size_j):
            _along_line(mask[i, j], far, radius, lines[i, j])
    planes = np.full(mask.shape, far, np.int32)
    for i in range(size_i):
        for j in range(size_j):
            for other in range(max(0, j - radius), min(size_j, j + radius + 1)):
                _lower(planes[i, j], lines[i, other], np.int32((other - j) ** 2))
    for i in range(size_i):
        lines[i] = far
        for other in range(max(0, i - radius), min(size_i, i + radius + 1)):
            for j in range(size_j):
                _lower(lines[i, j], planes[other, j], np.int32((other - i) ** 2))
    return lines


@compiled
def _along_line(mask: npt.NDArray[np.bool_], far: int, radius: int, out: IntArray) -> None:
    """Squared distance along one line, shape (K,)."""
    size = mask.shape[0]
    before = -radius - 1
    for k in range(size):
        if mask[k]:
            before = k
        away = k - before
        out[k] = away * away if away <= radius else far
    after = size + radius
    for k in range(size - 1, -1, -1):
        if mask[k]:
            after = k
        away = after - k
        if away <= radius and away * away < out[k]:
            out[k] = away * away


@compiled
def _lower(line: IntArray, other: IntArray, more: int) -> None:
    """Lower a line to another one that lies `more` higher."""
    for k in range(line.shape[0]):
        value = other[k] + more
        if value < line[k]:
            line[k] = value
