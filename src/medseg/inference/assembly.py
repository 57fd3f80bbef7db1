"""Slabs of one configuration, or of several side by side, become one mask on the case's grid.

Each slab is elected from as soon as the slabs of all configurations reach as far; then it is let
go. So nothing but the mask is as large as the case.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from medseg.inference.passage import Passage
from medseg.inference.quality import Expectation
from medseg.inference.window import Slab
from medseg.space.grids import STEP, Mapping
from medseg.space.votes import TopClasses
from medseg.types import AnyArray, GridSize, IntArray
from medseg.volume.geometry import Geometry

Electorate = Callable[[Sequence[TopClasses], Geometry], IntArray]
"""What each configuration says and a grid -> the value of each of its voxels."""


class Stream:
    """The slabs of one configuration, one of them at hand.

    Args:
        slabs: All of them, in order.
        grid: What they are slabs of.
        passage: How they follow each other.
        target: The grid that they are brought to.
        expectation: Told of each voxel once.
    """

    def __init__(
        self,
        slabs: Iterator[Slab],
        grid: Geometry,
        passage: Passage,
        target: Geometry,
        expectation: Expectation,
    ) -> None:
        self._slabs, self._axis, self._expectation = slabs, passage.axis, expectation
        mapping = Mapping(grid, target)
        self.is_whole = passage.planes == grid.grid_size[passage.axis]
        self.axis = mapping.partners[passage.axis]
        self.is_backwards = bool(mapping.matrix[passage.axis, self.axis] < 0)
        self._positions = np.empty(0)
        if not self.is_whole:
            ascending = mapping.positions(passage.axis, STEP)
            self._positions = ascending[::-1] if self.is_backwards else ascending
            self._positions = np.clip(self._positions, 0, grid.grid_size[passage.axis] - 1)
        self._count = target.grid_size[self.axis]
        self._slab: Slab = next(slabs)
        self._arrived()

    @property
    def reach(self) -> int:
        """How many planes of the target, in the order of the slabs, can be elected by now."""
        if self._slab.is_last:
            return self._count
        last = self._slab.first + self._slab.top.geometry.grid_size[self._axis] - 1
        return int(np.searchsorted(self._positions, last, side="right"))

    def advance(self) -> bool:
        """Take the next slab; False if this was the last."""
        if self._slab.is_last:
            return False
        self._slab = next(self._slabs)
        self._arrived()
        return True

    def between(self, done: int, until: int) -> TopClasses:
        """What is said where these planes of the target lie, and one plane further at most."""
        top = self._slab.top
        if self.is_whole:
            return top
        low = int(np.floor(self._positions[done])) - self._slab.first
        high = int(np.ceil(self._positions[until - 1])) - self._slab.first
        return top.cropped(*_box(top.geometry.grid_size, self._axis, low, high + 1)).contiguous()

    def _arrived(self) -> None:
        top, repeated = self._slab.top, self._slab.repeated
        end = top.geometry.grid_size[self._axis]
        self._expectation.add(top.cropped(*_box(top.geometry.grid_size, self._axis, repeated, end)))


def assemble(streams: Sequence[Stream], target: Geometry, elect: Electorate) -> IntArray:
    """Elect a whole grid, slab after slab.

    Args:
        streams: One for each configuration; see `passage.passages`: either all of them come
            whole, or all of them follow one axis of the target in one direction.
        target: The grid.
        elect: What is elected on a part of it.

    Returns:
        Values, shape (I, J, K) of the target, in the type that `elect` gives.
    """
    if all(stream.is_whole for stream in streams):
        return elect([stream.between(0, 0) for stream in streams], target)
    lead = next(stream for stream in streams if not stream.is_whole)
    count, done = target.grid_size[lead.axis], 0
    values: AnyArray | None = None
    while True:
        until = min(stream.reach for stream in streams)
        if until > done:
            ends = (count - until, count - done) if lead.is_backwards else (done, until)
            start, size = _box(target.grid_size, lead.axis, *ends)
            tops = [stream.between(done, until) for stream in streams]
            part = elect(tops, target.cropped(start, size))
            if values is None:
                values = np.empty(target.grid_size, part.dtype)
            i, j, k = (slice(s, s + n) for s, n in zip(start, size, strict=True))
            values[i, j, k] = part
            done = until
        behind = [stream for stream in streams if stream.reach == until]
        advanced = [stream.advance() for stream in behind]
        if not any(advanced):
            return np.asarray(values)


def _box(grid: GridSize, axis: int, first: int, end: int) -> tuple[GridSize, GridSize]:
    """Start and size of the planes from `first` to before `end`."""
    start, size = [0, 0, 0], list(grid)
    start[axis], size[axis] = first, end - first
    return (start[0], start[1], start[2]), (size[0], size[1], size[2])
