"""Compiled loops under the metrics: plain Python that numba compiles and caches on disk.

A *surface voxel* belongs to a structure and touches across a face a voxel that does not, or the
edge of the grid. An axis of one voxel has no neighbours: a 2D image has outlines, not faces; a
grid of one voxel is all surface.
"""

import numpy as np
import numpy.typing as npt

from medseg.compiled import compiled
from medseg.types import IntArray

Points = npt.NDArray[np.int32]
"""Voxel indices, shape (n, 3)."""


@compiled
def is_surface(labels: IntArray, i: int, j: int, k: int) -> bool:
    """Whether a neighbour of this voxel holds another value, or none is there."""
    own = labels[i, j, k]
    size_i, size_j, size_k = labels.shape
    if labels.size == 1:
        return True
    if size_k > 1 and (k == 0 or k == size_k - 1):
        return True
    if size_k > 1 and (labels[i, j, k - 1] != own or labels[i, j, k + 1] != own):
        return True
    if size_j > 1 and (j == 0 or j == size_j - 1):
        return True
    if size_j > 1 and (labels[i, j - 1, k] != own or labels[i, j + 1, k] != own):
        return True
    if size_i > 1 and (i == 0 or i == size_i - 1):
        return True
    return bool(size_i > 1 and (labels[i - 1, j, k] != own or labels[i + 1, j, k] != own))


@compiled
def count(
    predicted: IntArray, reference: IntArray, structure_of: IntArray, structures: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Count all structures in one pass.

    Args:
        predicted: Label values, shape (I, J, K), contiguous.
        reference: The same of the reference.
        structure_of: Label value -> structure from 1 on; 0 for all values that are not scored.
        structures: Number of structures N.

    Returns:
        Voxels as (N + 1, 3): in the prediction, in the reference, in both. Surface voxels as
        (N + 1, 2). First and last k of either map's structures in each row, shape (I, J, 2).
    """
    size_i, size_j, size_k = predicted.shape
    voxels = np.zeros((structures + 1, 3), np.int64)
    surface = np.zeros((structures + 1, 2), np.int64)
    used = np.zeros((size_i, size_j, 2), np.int32)
    for i in range(size_i):
        for j in range(size_j):
            first, last = size_k, -1
            for k in range(size_k):
                p = structure_of[predicted[i, j, k]]
                r = structure_of[reference[i, j, k]]
                if p == 0 and r == 0:
                    continue
                first, last = min(first, k), k
                if p > 0:
                    voxels[p, 0] += 1
                    surface[p, 0] += is_surface(predicted, i, j, k)
                if r > 0:
                    voxels[r, 1] += 1
                    surface[r, 1] += is_surface(reference, i, j, k)
                voxels[p, 2] += p == r
            used[i, j, 0], used[i, j, 1] = first, last
    return voxels, surface, used


@compiled
def collect(
    labels: IntArray, structure_of: IntArray, used: IntArray, starts: IntArray, total: int
) -> Points:
    """Gather the surface voxels of all structures of one map, in the order of the grid.

    Args:
        labels: Label values, shape (I, J, K), contiguous.
        structure_of: Label value -> structure, as for `count`.
        used: First and last k of each row, as `count` returns them.
        starts: Where each structure's points begin, shape (N + 1,); it is used up.
        total: Number of all surface voxels.

    Returns:
        Shape (total, 3): the points of structure 1, then those of structure 2, and so on.
    """
    points = np.empty((total, 3), np.int32)
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            for k in range(used[i, j, 0], used[i, j, 1] + 1):
                structure = structure_of[labels[i, j, k]]
                if structure > 0 and is_surface(labels, i, j, k):
                    at = starts[structure]
                    points[at, 0], points[at, 1], points[at, 2] = i, j, k
                    starts[structure] += 1
    return points


@compiled
def group_rows(points: Points, low: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Sort points into rows along their last axis.

    Args:
        points: Shape (n, 3); points of one row come with their last index rising.
        low: Smallest first and second index, shape (2,).
        rows: Number of rows along the first and second axis, shape (2,).

    Returns:
        Where each row begins, shape (rows[0] * rows[1] + 1,), and the last indices, shape (n,).
    """
    begin = np.zeros(rows[0] * rows[1] + 1, np.int64)
    for n in range(points.shape[0]):
        begin[(points[n, 0] - low[0]) * rows[1] + points[n, 1] - low[1] + 1] += 1
    begin = np.cumsum(begin)
    free = begin.copy()
    depth = np.empty(points.shape[0], np.int32)
    for n in range(points.shape[0]):
        row = (points[n, 0] - low[0]) * rows[1] + points[n, 1] - low[1]
        depth[free[row]] = points[n, 2]
        free[row] += 1
    return begin, depth


@compiled
def nearest_in_row(depth: IntArray, first: int, stop: int, k: int) -> int:
    """How many voxels lie between `k` and the nearest of the rising depth[first:stop]."""
    low, high = first, stop
    while low < high:
        middle = (low + high) // 2
        if depth[middle] < k:
            low = middle + 1
        else:
            high = middle
    if low == stop:
        return int(k - depth[stop - 1])
    if low == first:
        return int(depth[first] - k)
    return int(min(k - depth[low - 1], depth[low] - k))


@compiled
def search_rows(
    points: Points,
    begin: IntArray,
    depth: IntArray,
    low: IntArray,
    rows: IntArray,
    steps: IntArray,
    steps_mm2: npt.NDArray[np.float64],
    row_spacing_mm: float,
) -> npt.NDArray[np.float64]:
    """Squared distance from each point to the nearest target, by looking into the nearest rows.

    The search ends when the next row is farther away than the best target so far, so what it finds
    is exact; it gives up where even the last of `steps` is nearer than the best target.

    Args:
        points: Where to search from, shape (n, 3).
        begin: Rows of the targets, as `group_rows` returns them.
        depth: Last indices of the targets, likewise.
        low: First row of the targets, shape (2,).
        rows: Number of rows, shape (2,).
        steps: Steps from row to row, the nearest first, shape (m, 2).
        steps_mm2: Squared length of these, shape (m,).
        row_spacing_mm: Distance of voxels along a row.

    Returns:
        Square millimetres, shape (n,); -1.0 where the search gave up.
    """
    result = np.empty(points.shape[0], np.float64)
    for n in range(points.shape[0]):
        a, b, k = points[n, 0] - low[0], points[n, 1] - low[1], points[n, 2]
        best, found = np.inf, False
        for m in range(steps.shape[0]):
            if steps_mm2[m] >= best:
                found = True
                break
            x, y = a + steps[m, 0], b + steps[m, 1]
            if x < 0 or y < 0 or x >= rows[0] or y >= rows[1]:
                continue
            row = x * rows[1] + y
            if begin[row] == begin[row + 1]:
                continue
            along = nearest_in_row(depth, begin[row], begin[row + 1], k) * row_spacing_mm
            best = min(best, steps_mm2[m] + along * along)
        result[n] = best if found or best <= steps_mm2[-1] else -1.0
    return result
