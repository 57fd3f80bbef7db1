"""How a volume is gone through: along which axis, and how much of it is held at a time.

A window is added to what was said about its voxels before. Once no window reaches a plane any more
it is finished, and is handed out. Held are the planes of one window, and where there is room those
of several; the axis is the one along which that takes least.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from medseg.inference.engine import BATCH_VOXELS
from medseg.space.grids import Mapping
from medseg.specs import WindowSpec
from medseg.volume.geometry import Geometry

SLOT_BYTES = 32 << 20
"""What is said about a volume is held whole up to this; beyond it, only if one window needs more.
Larger slabs win no time (bench/volumes.py)."""

PIECES = 16
"""Of the planes that are held so many parts are handed out one after the other."""

HANDED_OUT = 1 + 4 / PIECES
"""A part that is handed out is a copy, and so are what is elected from and its probabilities."""


class Passage(NamedTuple):
    """How a volume is gone through.

    Attributes:
        axis: Slabs follow each other along it.
        planes: Planes across it that are held at a time.
        batch: Windows that the network is shown at a time.
    """

    axis: int
    planes: int
    batch: int

    @classmethod
    def whole(
        cls, grid: Sequence[int], spec: WindowSpec, *, batch_voxels: int = BATCH_VOXELS
    ) -> "Passage":
        """All of it is held."""
        return cls(0, grid[0], max(1, batch_voxels // prod(spec.patch_size)))


class Sweep(NamedTuple):
    """What is to be gone through.

    Attributes:
        grid: Where the volume lies.
        spec: The windows.
        voxel_bytes: Of the slots of a voxel.
        batch_voxels: Image voxels that the networks are shown at a time, about.
    """

    grid: Geometry
    spec: WindowSpec
    voxel_bytes: int
    batch_voxels: int = BATCH_VOXELS

    def planes(self, axis: int) -> int:
        """The planes that one window reaches."""
        return min(self.grid.grid_size[axis], self.spec.patch_size[axis])

    def plane_bytes(self, axis: int) -> int:
        """Slots of one plane across an axis."""
        size = self.grid.grid_size
        return prod(size) // size[axis] * self.voxel_bytes

    @property
    def whole_bytes(self) -> int:
        """Slots of the whole volume."""
        return prod(self.grid.grid_size) * self.voxel_bytes

    def held_bytes(self, passage: Passage) -> int:
        """Slots that are held, and handed out, at a time."""
        if passage.planes == self.grid.grid_size[passage.axis]:
            return self.whole_bytes
        return round(HANDED_OUT * passage.planes * self.plane_bytes(passage.axis))


def wholes(sweeps: Sequence[Sweep]) -> list[Passage]:
    """Each volume held whole."""
    return [
        Passage.whole(one.grid.grid_size, one.spec, batch_voxels=one.batch_voxels) for one in sweeps
    ]


def passages(
    sweeps: Sequence[Sweep], target: Geometry, *, slot_bytes: int = SLOT_BYTES
) -> list[Passage]:
    """How volumes are gone through side by side, so that their slabs cover a grid in one order.

    Args:
        sweeps: What is gone through.
        target: The grid that slabs are brought to.
        slot_bytes: How much they may hold altogether; where one window needs more, they do. Grids
            that do not run along the axes of `target`, or in different directions, are held whole.
    """
    whole_ones = wholes(sweeps)
    ways = [way for axis in range(3) if (way := _along(sweeps, target, axis))]
    if sum(one.whole_bytes for one in sweeps) <= slot_bytes or not ways:
        return whole_ones
    least = [_least(sweeps, way) for way in ways]
    way = ways[int(np.argmin(least))]
    more = max(1.0, slot_bytes / min(least))
    found = []
    for one, axis, whole in zip(sweeps, way, whole_ones, strict=True):
        planes = min(one.grid.grid_size[axis], int(one.planes(axis) * more))
        found.append(whole._replace(axis=axis, planes=planes))
    return found


def groups(starts: Sequence[int], patch: int, passage: Passage) -> Iterator[tuple[int, int]]:
    """Windows along the axis of a passage that fit together into the planes held.

    Args:
        starts: First plane of each window, ascending.
        patch: Planes of a window.
        passage: How many are held.

    Yields:
        First window of a group, and the one after its last.
    """
    first = 0
    for n, start in enumerate(starts):
        if start + patch - starts[first] > max(passage.planes, patch):
            yield first, n
            first = n
    yield first, len(starts)


def _along(sweeps: Sequence[Sweep], target: Geometry, axis: int) -> list[int]:
    """The axis of each volume that runs along an axis of `target`; empty if they do not agree."""
    mappings = [Mapping(one.grid, target) for one in sweeps]
    axes = [mapping.partners.index(axis) for mapping in mappings]
    steps = [mapping.matrix[own, axis] for mapping, own in zip(mappings, axes, strict=True)]
    agree = all(step * steps[0] > 0 for step in steps)
    return axes if agree and all(mapping.is_aligned for mapping in mappings) else []


def _least(sweeps: Sequence[Sweep], axes: Sequence[int]) -> float:
    """Bytes if the planes of one window are held of each."""
    return sum(
        HANDED_OUT * one.planes(axis) * one.plane_bytes(axis)
        for one, axis in zip(sweeps, axes, strict=True)
    )
