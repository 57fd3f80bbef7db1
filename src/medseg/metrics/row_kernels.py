"""Compiled search for the nearest of many voxels: targets lie in rows, the nearest rows first."""

import numpy as np
import numpy.typing as npt

from medseg.compiled import compiled
from medseg.types import IntArray

Points = npt.NDArray[np.int32]
"""Voxel or corner indices, shape (n, 3)."""


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
    if depth[first] >= k:
        return int(depth[first] - k)
    if depth[stop - 1] <= k:
        return int(k - depth[stop - 1])
    low, high = first, stop
    while low < high:
        middle = (low + high) // 2
        if depth[middle] < k:
            low = middle + 1
        else:
            high = middle
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
