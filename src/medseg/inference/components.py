"""The connected parts of a mask: what each is of, and how large.

In numpy, and not in a compiled loop: masks hold few runs of voxels, and no compiler has to be
loaded for them (bench/startup.py).
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.types import AnyArray, IntArray

Indices = npt.NDArray[np.intp]
Sizes = npt.NDArray[np.int64]


class _Runs(NamedTuple):
    """Voxels of one value that follow each other within a row of a plane.

    Attributes:
        starts: Place of the first one, counted through the plane's rows, ascending.
        ends: The place after the last one.
        values: Their value.
    """

    starts: Indices
    ends: Indices
    values: IntArray


class Parts(NamedTuple):
    """How large the connected parts of a mask are; those of one value and size count together.

    Attributes:
        values: What they are of.
        sizes: Voxels of each of them.
        counts: How many there are.
    """

    values: Sizes
    sizes: Sizes
    counts: Sizes

    def of(self, value: int) -> "Parts":
        """Those of one value."""
        own = self.values == value
        return Parts(self.values[own], self.sizes[own], self.counts[own])


def parts_of(array: IntArray) -> Parts:
    """The connected parts of all values in one pass.

    Voxels of one value are connected through their faces; 0 is background. Plane after plane the
    parts of its runs are found and joined to those of the plane before; a part that has no voxel
    there is complete. So memory grows with a plane, even where each voxel is a part.

    Args:
        array: Integers from 0 to 65535, shape (I, J, K).
    """
    if not array.flags.c_contiguous:
        array = array.T  # parts are the same, and rows lie in one piece where they were columns
    complete: Counter[tuple[int, int]] = Counter()
    before, values = _runs_of(array[0, :0]), np.zeros(0, np.int64)
    sizes, part_of_run = np.zeros(0, np.int64), np.zeros(0, np.intp)
    for plane in array:
        runs = _runs_of(np.ascontiguousarray(plane))
        own, roots = _numbered(_roots(len(runs.starts), _touching_rows(runs, plane.shape[1])))
        here, there = _touching(runs, before)
        pairs = np.stack([own[here] + len(sizes), part_of_run[there]])
        part, roots_of_all = _numbered(_roots(len(sizes) + len(roots), pairs))
        goes_on = np.zeros(len(roots_of_all), np.bool_)
        goes_on[part[len(sizes) :]] = True
        part_of_run = (np.cumsum(goes_on) - 1)[part[own + len(sizes)]]
        values = np.concatenate([values, runs.values[roots]])[roots_of_all]
        sizes = np.concatenate([sizes, _summed(own, runs.ends - runs.starts, len(roots))])
        sizes = _summed(part, sizes, len(roots_of_all))
        complete.update(_counted(values[~goes_on], sizes[~goes_on]))
        before, values, sizes = runs, values[goes_on], sizes[goes_on]
    complete.update(_counted(values, sizes))
    found = np.array([(*key, count) for key, count in complete.items()], np.int64).reshape(-1, 3)
    return Parts(*found.T)


def _runs_of(plane: IntArray) -> _Runs:
    flat, width = plane.reshape(-1), plane.shape[1]
    is_start = np.ones(flat.size + 1, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=is_start[1:-1])
    is_start[::width] = True
    at = np.flatnonzero(is_start)
    starts, ends = at[:-1], at[1:]
    there = flat[starts] != 0
    return _Runs(starts[there], ends[there], flat[starts[there]])


def _touching_rows(runs: _Runs, width: int) -> Indices:
    """Pairs of runs of one value in neighbouring rows of a plane, shape (2, pairs)."""
    below = int(np.searchsorted(runs.starts, width))
    later = _Runs(runs.starts[below:] - width, runs.ends[below:] - width, runs.values[below:])
    here, there = _touching(later, runs)
    return np.stack([here + below, there])


def _touching(runs: _Runs, others: _Runs) -> tuple[Indices, Indices]:
    """Which runs cover one place, and have one value: pairs of their numbers."""
    first = np.searchsorted(others.ends, runs.starts, side="right")
    count = np.searchsorted(others.starts, runs.ends, side="left") - first
    here = np.repeat(np.arange(len(count)), count)
    there = np.arange(len(here)) + np.repeat(first - np.cumsum(count) + count, count)
    alike = runs.values[here] == others.values[there]
    return here[alike], there[alike]


def _roots(count: int, pairs: Indices) -> Indices:
    """For each of `count` things the smallest of those that it hangs together with.

    In each round every root that touches a smaller one is hung below it, and chains are shortened:
    the number of rounds grows with the logarithm of the longest chain.
    """
    roots = np.arange(count)
    one, other = pairs
    while len(one):
        low, high = np.minimum(roots[one], roots[other]), np.maximum(roots[one], roots[other])
        differ = low != high
        one, other = one[differ], other[differ]
        roots[high[differ]] = low[differ]
        while (roots != (shorter := roots[roots])).any():
            roots = shorter
    return roots


def _numbered(roots: Indices) -> tuple[Indices, Indices]:
    """The number of each thing's part, counted from 0, and which things are roots."""
    is_root = roots == np.arange(len(roots))
    return (np.cumsum(is_root) - 1)[roots], np.flatnonzero(is_root)


def _summed(parts: Indices, sizes: AnyArray, count: int) -> Sizes:
    """Voxels of each part; a sum in float64 is exact up to 2**53 of them."""
    return np.bincount(parts, weights=sizes, minlength=count).astype(np.int64)


def _counted(values: Sizes, sizes: Sizes) -> Counter[tuple[int, int]]:
    """How often each value and size occur together."""
    keys, counts = np.unique(sizes * 65536 + values, return_counts=True)
    pairs = zip((keys % 65536).tolist(), (keys // 65536).tolist(), strict=True)
    return Counter(dict(zip(pairs, counts.tolist(), strict=True)))
