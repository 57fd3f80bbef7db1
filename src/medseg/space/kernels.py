# mypy: disable-error-code="no-untyped-def"
"""Loops over labels and over the heaviest classes of voxels.

Plain loops in numba, compiled at the first call (one to two seconds a kind of vote) and then kept
on disk (`medseg.compiled`). They release the interpreter lock and run on one core: callers
have cases to spread over the others.
"""

import numpy as np

from medseg.compiled import compiled
from medseg.errors import InvalidGeometry
from medseg.types import FloatArray, GridSize, IntArray

MIXED = -1
"""In a row of common labels: the neighbours differ."""

NEGLIGIBLE = 1e-3
"""Weights below this do not open a slot."""


def add_window(
    classes: IntArray,
    weights: FloatArray,
    shares: FloatArray,
    gauss: FloatArray,
    start: GridSize,
) -> None:
    """Merge a window's shares, times its weights, into the slots of a volume, in place.

    With a slot for each class (N <= S) slot n holds class n and the sums are exact. With fewer,
    a voxel keeps the S heaviest classes of what it has seen: a class that has no slot takes the
    smallest one if it outweighs it, and what the loser had is lost. A class can only be missed
    where more than S classes compete in one voxel, or where each window gives it less than
    `NEGLIGIBLE`; a class with a slot is always summed in full.

    Args:
        classes: Class of each slot, shape (S, I, J, K), uint8 or uint16.
        weights: Its summed weight, float32, shape (S, I, J, K); 0 is an empty slot.
        shares: What each class gets, shape (N, i, j, k), not negative.
        gauss: Weight of each voxel of the window, shape (i, j, k), positive.
        start: Voxel of the volume at which the window begins.

    Raises:
        InvalidGeometry: If the arrays do not fit together or the window leaves the volume.
    """
    size = shares.shape[1:]
    fits = classes.shape == weights.shape and gauss.shape == size and len(start) == len(size) == 3
    ends = zip(start, size, classes.shape[1:], strict=False)
    if not fits or not all(0 <= first <= end - length for first, length, end in ends):
        raise InvalidGeometry(
            "A window lies within its volume and has one weight for each voxel.",
            received=f"slots {classes.shape} and {weights.shape}, window {shares.shape} "
            f"at {start}, weights {gauss.shape}",
        )
    spot = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    given = np.ascontiguousarray(shares, dtype=np.float32)
    worth = np.ascontiguousarray(gauss, dtype=np.float32)
    if len(given) <= len(classes):
        for slot, share in zip(weights, given, strict=False):
            slot[spot] += worth * share
    else:
        _add_sparse(classes[:, *spot], weights[:, *spot], given, worth)


@compiled
def _add_sparse(classes, weights, shares, worth):
    slots = classes.shape[0]
    count, ni, nj, nk = shares.shape
    bar = np.empty(nk, np.float32)
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                least = np.float32(np.inf)
                for s in range(slots):
                    if weights[s, i, j, k] > 0:
                        weights[s, i, j, k] += worth[i, j, k] * shares[classes[s, i, j, k], i, j, k]
                    least = min(least, weights[s, i, j, k])
                bar[k] = max(least / worth[i, j, k], np.float32(NEGLIGIBLE))
            for n in range(count):
                if not _any_above(shares[n, i, j], bar):
                    continue
                for k in range(nk):
                    share, value = shares[n, i, j, k], worth[i, j, k]
                    if share > bar[k]:
                        least = _claim(classes[:, i, j, k], weights[:, i, j, k], n, share * value)
                        bar[k] = max(least / value, np.float32(NEGLIGIBLE))


@compiled
def _any_above(row, bar):
    above = np.int32(0)
    for k in range(row.size):
        above |= np.int32(row[k] > bar[k])
    return above != 0


@compiled
def _claim(classes, weights, number, weight):
    """Give `number` the smallest slot unless it has one; returns the smallest weight then."""
    smallest = 0
    least = second = np.float32(np.inf)
    owned = False
    for s in range(classes.size):
        owned |= classes[s] == number and weights[s] > 0
        if weights[s] < least:
            smallest, least, second = s, weights[s], least
        else:
            second = min(second, weights[s])
    if owned:
        return least
    classes[smallest] = number
    weights[smallest] = weight
    return min(second, weight)


@compiled
def heaviest_class(classes, weights):
    """Class of the largest weight of each voxel, the smaller one of equals; shape (I, J, K)."""
    slots, ni, nj, nk = classes.shape
    best = np.zeros((ni, nj, nk), classes.dtype)
    most = np.empty(nk, np.float32)
    for i in range(ni):
        for j in range(nj):
            most[:] = 0
            for s in range(slots):
                for k in range(nk):
                    weight, number = weights[s, i, j, k], classes[s, i, j, k]
                    if weight > most[k] or (weight == most[k] and number < best[i, j, k]):
                        most[k] = weight
                        best[i, j, k] = number
    return best


@compiled
def _common(a, b, c, d, out):
    """The label that four rows share at each place, or MIXED."""
    for k in range(a.size):
        same = (a[k] == b[k]) & (a[k] == c[k]) & (a[k] == d[k])
        out[k] = a[k] if same else MIXED


@compiled
def _elect(first, classes, weights, relative, low, high, part, corners, found, total):
    """The class of the largest trilinear weight among eight neighbours.

    Without `weights` each neighbour gives its whole share to its label in `first`, and of equals
    the label met first in the order of `corners` wins; with them the smaller class does. If
    `relative`, the weights of a voxel count from its smallest one up.
    """
    count = 0
    for corner in range(8):
        i = high[0] if corners[corner, 0] else low[0]
        j = high[1] if corners[corner, 1] else low[1]
        k = high[2] if corners[corner, 2] else low[2]
        share = 1.0
        for axis in range(3):
            share *= part[axis] if corners[corner, axis] else 1.0 - part[axis]
        if share == 0.0:
            continue
        if weights is None:
            count = _tally(found, total, count, first[i, j, k], share)
        else:
            least = 0.0
            if relative:
                least = np.inf
                for s in range(classes.shape[0]):
                    least = min(least, weights[s, i, j, k])
            for s in range(classes.shape[0]):
                worth = share * (weights[s, i, j, k] - least)
                count = _tally(found, total, count, classes[s, i, j, k], worth)
    best = 0
    for n in range(1, count):
        tied = weights is not None and total[n] == total[best]
        if total[n] > total[best] or (tied and found[n] < found[best]):
            best = n
    return found[best]


@compiled
def _tally(found, total, count, number, share):
    """Add a share to its class among the first `count`; returns how many classes there are."""
    for n in range(count):
        if found[n] == number:
            total[n] += share
            return count
    found[count], total[count] = number, share
    return count + 1


@compiled
def vote_aligned(first, classes, weights, relative, lows, parts, corners, out):
    """Elect each voxel of a grid whose axes are those of the source.

    Where all eight neighbours have one heaviest class it is the heaviest of their mixture too,
    so only voxels near a border are counted out.

    Args:
        first: Heaviest class of each voxel, or a label map; (I, J, K).
        classes: Class of each slot, (S, I, J, K).
        weights: Weight of each slot, (S, I, J, K), or None for a label map.
        relative: Whether the weights of a voxel count from its smallest one up.
        lows: For each axis: index of the lower neighbour, -1 outside; three of (i,), (j,), (k,).
        parts: For each axis: share of the upper neighbour, 0 to 1.
        corners: Whether a corner takes the upper neighbour along each axis, (8, 3), in the order
            in which they win ties.
        out: Takes the classes, (i, j, k); 0 outside.
    """
    ni, nj, nk = first.shape
    low0, low1, low2 = lows
    part0, part1, part2 = parts
    common = np.empty(nk, np.int32)
    found = np.empty(8 * classes.shape[0], np.int64)
    total = np.empty(8 * classes.shape[0], np.float64)
    for i in range(out.shape[0]):
        i0 = low0[i]
        if i0 < 0:
            out[i] = 0
            continue
        i1 = min(i0 + 1, ni - 1)
        for j in range(out.shape[1]):
            j0 = low1[j]
            if j0 < 0:
                out[i, j] = 0
                continue
            j1 = min(j0 + 1, nj - 1)
            _common(first[i0, j0], first[i0, j1], first[i1, j0], first[i1, j1], common)
            for k in range(out.shape[2]):
                k0 = low2[k]
                if k0 < 0:
                    out[i, j, k] = 0
                    continue
                k1 = min(k0 + 1, nk - 1)
                if common[k0] == common[k1] and common[k0] != MIXED:
                    out[i, j, k] = common[k0]
                else:
                    out[i, j, k] = _elect(
                        first, classes, weights, relative, (i0, j0, k0), (i1, j1, k1),
                        (part0[i], part1[j], part2[k]), corners, found, total,
                    )  # fmt: skip


@compiled
def vote_rotated(first, classes, weights, relative, matrix, step, corners, out):
    """Elect each voxel of any grid: as `vote_aligned`, with `matrix` from out to source index.

    Args:
        first: Heaviest class of each voxel, or a label map; (I, J, K).
        classes: Class of each slot, (S, I, J, K).
        weights: Weight of each slot, (S, I, J, K), or None for a label map.
        relative: Whether the weights of a voxel count from its smallest one up.
        matrix: Index on `out` -> index on the source, (4, 4).
        step: Positions are rounded to multiples of this.
        corners: Whether a corner takes the upper neighbour along each axis, (8, 3), in the order
            in which they win ties.
        out: Takes the classes, (i, j, k); 0 outside.
    """
    ni, nj, nk = first.shape
    found = np.empty(8 * classes.shape[0], np.int64)
    total = np.empty(8 * classes.shape[0], np.float64)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                i0, fi = _neighbour(matrix[0], i, j, k, step, ni)
                j0, fj = _neighbour(matrix[1], i, j, k, step, nj)
                k0, fk = _neighbour(matrix[2], i, j, k, step, nk)
                if i0 < 0 or j0 < 0 or k0 < 0:
                    out[i, j, k] = 0
                    continue
                out[i, j, k] = _elect(
                    first, classes, weights, relative, (i0, j0, k0),
                    (min(i0 + 1, ni - 1), min(j0 + 1, nj - 1), min(k0 + 1, nk - 1)),
                    (fi, fj, fk), corners, found, total,
                )  # fmt: skip


@compiled
def _neighbour(row, i, j, k, step, size):
    """Lower neighbour and share of the upper one along one axis; -1 outside the outer faces."""
    at = np.round((row[0] * i + row[1] * j + row[2] * k + row[3]) / step) * step
    if at < -0.5 or at > size - 0.5:
        return -1, 0.0
    at = min(max(at, 0.0), size - 1.0)
    low = min(int(at), max(size - 2, 0))
    return low, at - low


@compiled
def add_mixtures(voxels, classes, weights, matrix, step, sums, found, counts):
    """Add what a source says about a few voxels of another grid: trilinear weights by class.

    Args:
        voxels: Index of each of them on that grid, shape (n, 3).
        classes: Class of each slot of the source, (S, I, J, K).
        weights: Weight of each slot, (S, I, J, K).
        matrix: Index on that grid -> index on the source, (4, 4).
        step: Positions are rounded to multiples of this.
        sums: Summed weight of each class that was met, in place, shape (n, most).
        found: Which class that is, in place, shape (n, most).
        counts: How many classes were met so far, in place, shape (n,).
    """
    ni, nj, nk = classes.shape[1:]
    for v in range(len(voxels)):
        i, j, k = voxels[v]
        i0, fi = _neighbour(matrix[0], i, j, k, step, ni)
        j0, fj = _neighbour(matrix[1], i, j, k, step, nj)
        k0, fk = _neighbour(matrix[2], i, j, k, step, nk)
        if i0 < 0 or j0 < 0 or k0 < 0:
            counts[v] = _tally(found[v], sums[v], counts[v], 0, 1.0)
            continue
        for corner in range(8):
            up_i, up_j, up_k = corner & 1, (corner >> 1) & 1, corner >> 2
            share = (fi if up_i else 1 - fi) * (fj if up_j else 1 - fj) * (fk if up_k else 1 - fk)
            if share == 0.0:
                continue
            i1, j1, k1 = min(i0 + up_i, ni - 1), min(j0 + up_j, nj - 1), min(k0 + up_k, nk - 1)
            for s in range(classes.shape[0]):
                weight = share * weights[s, i1, j1, k1]
                if weight > 0:
                    counts[v] = _tally(found[v], sums[v], counts[v], classes[s, i1, j1, k1], weight)
