"""Masks to closed contours on their planes, and contours to masks, so that one undoes the other.

A contour runs halfway between the centres of voxels inside and outside (marching squares at one
half). A voxel belongs to contours if its centre lies within an odd number of them: nested contours
are holes, and so are keyholes, whose channel is passed twice.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from medseg.types import Mask

Points = npt.NDArray[np.float64]
"""Corners of a closed contour as (i, j) in voxels, shape (N, 2); the last joins the first."""

_FEWEST_CORNERS = 3


def trace(plane: Mask) -> list[Points]:
    """Contours of one plane; holes are joined to the contour around them by a keyhole.

    Args:
        plane: What is inside, shape (I, J).

    Source:
        Lorensen and Cline, Computer Graphics 21(4), 1987, in two dimensions; keyholes as in PS3.3,
        C.8.8.6.3.
    """
    from skimage.measure import find_contours  # takes half a second to load

    if not plane.any():
        return []
    filled = [np.flatnonzero(plane.any(axis=1 - axis)) for axis in range(2)]
    start = np.array([int(found[0]) for found in filled])
    inner = plane[tuple(slice(found[0], found[-1] + 1) for found in filled)]
    rings = [
        _without_straight(ring[:-1] - 1 + start)
        for ring in find_contours(np.pad(inner, 1).astype(np.float64), 0.5)
    ]
    outer = [ring for ring in rings if _area(ring) > 0]
    holes = [ring for ring in rings if _area(ring) < 0]
    return _with_keyholes(outer, holes)


def fill(contours: Iterable[Points], size: tuple[int, int]) -> Mask:
    """Voxels whose centres lie within an odd number of contours.

    Args:
        contours: Of one structure on one plane; parts beyond the plane are cut off.
        size: Voxels along I and J.

    Returns:
        Shape (I, J).
    """
    mask = np.zeros(size, dtype=np.bool_)
    rings = [ring for ring in contours if len(ring) >= _FEWEST_CORNERS]
    if not rings:
        return mask
    corners = np.concatenate(rings)
    low = np.floor(corners.min(axis=0)).clip(0, size).astype(np.intp)
    high = np.ceil(corners.max(axis=0) + 1).clip(0, size).astype(np.intp)
    i, j = np.maximum(high - low, 0).tolist()
    crossings = np.zeros((i + 1, j), dtype=np.int32)
    for ring in rings:
        _count_crossings(crossings, ring - low)
    mask[low[0] : high[0], low[1] : high[1]] = crossings.cumsum(axis=0)[:-1] % 2 == 1
    return mask


def _count_crossings(crossings: npt.NDArray[np.int32], ring: Points) -> None:
    """Count, where an edge crosses a row j, the first voxel behind the crossing, in place.

    An edge owns its lower end and not its upper one, so that a corner counts once.
    """
    following = np.roll(ring, -1, axis=0)
    ends = np.ceil(np.sort(np.stack([ring[:, 1], following[:, 1]]), axis=0))
    first, last = ends.clip(0, crossings.shape[1]).astype(np.intp)
    rows = last - first
    edge = np.repeat(np.arange(len(ring)), rows)
    j = np.arange(len(edge)) - np.repeat(rows.cumsum() - rows, rows) + first[edge]
    (i0, j0), (i1, j1) = ring[edge].T, following[edge].T
    i = np.ceil(i0 + (j - j0) * (i1 - i0) / (j1 - j0))
    np.add.at(crossings, (i.clip(0, crossings.shape[0] - 1).astype(np.intp), j), 1)


def _area(ring: Points) -> float:
    """Twice the area within; positive for one that runs around what is inside."""
    following = np.roll(ring, -1, axis=0)
    return -float((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum())


def _without_straight(ring: Points) -> Points:
    """The same contour without corners in the middle of straight lines."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return np.asarray(ring[turns])


def _with_keyholes(outer: Sequence[Points], holes: Sequence[Points]) -> list[Points]:
    """Each hole becomes part of the smallest contour around it."""
    by_size = sorted(outer, key=lambda ring: abs(_area(ring)))
    joined = list(by_size)
    for hole in holes:
        n = next(n for n, ring in enumerate(by_size) if _holds(ring, hole[0]))
        joined[n] = _keyhole(joined[n], hole)
    return joined


def _holds(ring: Points, point: Points) -> bool:
    i0, j0 = ring.T
    i1, j1 = np.roll(ring, -1, axis=0).T
    crosses = (np.minimum(j0, j1) <= point[1]) & (point[1] < np.maximum(j0, j1))
    crosses &= j0 != j1
    i0, j0, i1, j1 = i0[crosses], j0[crosses], i1[crosses], j1[crosses]
    return bool((i0 + (point[1] - j0) * (i1 - i0) / (j1 - j0) > point[0]).sum() % 2)


def _keyhole(ring: Points, hole: Points) -> Points:
    """Go along the ring, over the shortest way to the hole, around it, and the same way back."""
    apart = np.square(ring[:, None] - hole[None]).sum(axis=2)
    a, b = np.unravel_index(apart.argmin(), apart.shape)
    around = np.roll(hole, -int(b), axis=0)
    return np.concatenate([ring[: a + 1], around, around[:1], ring[a:]])
