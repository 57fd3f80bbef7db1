"""Compiled loop that marks what lies near the outline of a mask, inside of it."""

import numpy as np

from medseg.compiled import compiled
from medseg.types import AnyArray, IntArray


@compiled
def mark_band(
    labels: IntArray,
    other: IntArray,
    borders: IntArray,
    steps: tuple[IntArray, IntArray],
    bit: int,
    band: AnyArray,
    counts: IntArray,
) -> None:
    """Mark the voxels of each structure that are near a voxel outside of it.

    Args:
        labels: Label values, shape (I, J, K), contiguous.
        other: The map that it is compared with.
        borders: Structure and flat index of the border voxels of `labels`, shape (n, 2).
        steps: How to get from an outside voxel across each of the six faces to the voxels that are
            near it: shape (m, 3); and where each face's begin, shape (7,). Faces come by axis, the
            lower first.
        bit: 1 for the prediction, 2 for the reference.
        band: What was marked so far, flat; changed.
        counts: By structure: marked in the prediction, in the reference, in both as the same
            structure, shape (N + 1, 3); changed.
    """
    shape = labels.shape
    flat, other_flat = labels.reshape(-1), other.reshape(-1)
    outside = np.empty(3, np.int64)
    for n in range(borders.shape[0]):
        structure, at = borders[n, 0], borders[n, 1]
        own = flat[at]
        mark(at, own, structure, bit, other_flat, band, counts)
        for face in range(6 if steps[0].size else 0):
            axis = face // 2
            if steps[1][face] == steps[1][face + 1] or shape[axis] == 1:
                continue
            outside[0] = at // (shape[1] * shape[2])
            outside[1] = at // shape[2] % shape[1]
            outside[2] = at % shape[2]
            outside[axis] += 1 if face % 2 else -1
            i, j, k = outside[0], outside[1], outside[2]
            if 0 <= outside[axis] < shape[axis] and labels[i, j, k] == own:
                continue
            for m in range(steps[1][face], steps[1][face + 1]):
                x, y, z = i + steps[0][m, 0], j + steps[0][m, 1], k + steps[0][m, 2]
                within = 0 <= x < shape[0] and 0 <= y < shape[1] and 0 <= z < shape[2]
                if within and labels[x, y, z] == own:
                    near = (x * shape[1] + y) * shape[2] + z
                    mark(near, own, structure, bit, other_flat, band, counts)


@compiled
def mark(
    at: int,
    own: int,
    structure: int,
    bit: int,
    other: IntArray,
    band: AnyArray,
    counts: IntArray,
) -> None:
    """Mark one voxel, and count it if it was not marked yet."""
    if band[at] & bit == 0:
        band[at] |= bit
        counts[structure, bit - 1] += 1
        if other[at] == own and band[at] & 3 == 3:
            counts[structure, 2] += 1
