"""From the voxels of one grid to the positions they have on another."""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
import numpy.typing as npt

from medseg.errors import InvalidGeometry
from medseg.types import GridSize, SpacingMm
from medseg.volume.geometry import Geometry

STEP = 2.0**-17
"""Votes round positions to this part of a voxel: then sums of shares are exact, and ties ties."""

FINE_STEP = 2.0**-30
"""Images round them to this: enough for whole and half positions to be so on every machine."""

ALIGNED = 1e-3
"""Two grids' axes agree if no line of voxels leaves its axis by more than this, in voxels."""


def grid_at_spacing(geometry: Geometry, spacing_mm: SpacingMm) -> Geometry:
    """The grid of about this spacing over the same field of view.

    The outer faces of the voxels agree, so nothing is cropped and nothing is added. For that the
    spacing gives way: `n` voxels of `old` mm become `max(1, round(n * old / new))` voxels that
    share the same length. A single slice stays a single slice until `new` is below two thirds of
    its thickness.

    Args:
        geometry: The grid to start from.
        spacing_mm: Wanted distance between voxel centres along I, J, K of `geometry`.

    Raises:
        InvalidGeometry: If a spacing is not a positive, finite number.
    """
    wanted = np.asarray(spacing_mm, dtype=np.float64)
    if wanted.shape != (3,) or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise InvalidGeometry(
            "A spacing is three positive numbers of millimetres.", received=f"{spacing_mm}"
        )
    old = np.asarray(geometry.grid_size)
    i, j, k = np.maximum(1, np.round(old * geometry.spacing_mm / wanted)).astype(int).tolist()
    return grid_of_size(geometry, (i, j, k))


def grid_of_size(geometry: Geometry, grid_size: GridSize) -> Geometry:
    """The grid of so many voxels over the same field of view."""
    step = np.asarray(geometry.grid_size) / np.asarray(grid_size)
    to_old = np.diag([*step, 1.0])
    to_old[:3, 3] = (step - 1) / 2
    return Geometry(geometry.affine @ to_old, grid_size)


@dataclass(frozen=True, eq=False)
class Mapping:
    """Where the voxels of `target` lie on the grid of `source`, in voxels of `source`."""

    source: Geometry
    target: Geometry

    @cached_property
    def matrix(self) -> npt.NDArray[np.float64]:
        """Index on `target` -> index on `source`, shape (4, 4)."""
        return np.asarray(np.linalg.solve(self.source.affine, self.target.affine))

    @cached_property
    def partners(self) -> tuple[int, int, int]:
        """For each axis of `source`: the axis of `target` that runs most along it."""
        share = np.abs(self.matrix[:3, :3])
        i, j, k = max(permutations((0, 1, 2)), key=lambda p: sum(share[a, p[a]] for a in range(3)))
        return (i, j, k)

    @cached_property
    def is_aligned(self) -> bool:
        """Whether the axes agree up to their order and direction, within `ALIGNED`."""
        reach = np.abs(self.matrix[:3, :3]) * (np.asarray(self.target.grid_size) - 1)
        reach[range(3), self.partners] = 0.0
        return bool(reach.sum(axis=1).max() <= ALIGNED)

    @property
    def aligned_size(self) -> GridSize:
        """The size of `target` with its axes in the order of `source`."""
        i, j, k = (self.target.grid_size[b] for b in self.partners)
        return (i, j, k)

    def positions(self, axis: int, step: float) -> npt.NDArray[np.float64]:
        """Positions along one axis of `source`, for aligned grids, shape (n,).

        Args:
            axis: Axis of `source`.
            step: Positions are rounded to multiples of this.
        """
        middle = (np.asarray(self.target.grid_size) - 1) / 2
        partner = self.partners[axis]
        row = self.matrix[axis, :3].copy()
        each, row[partner] = row[partner], 0.0
        start = self.matrix[axis, 3] + row @ middle
        count = self.target.grid_size[partner]
        return np.asarray(np.round((start + each * np.arange(count)) / step) * step)

    def inside(self, axis: int) -> npt.NDArray[np.bool_]:
        """Which positions along `axis` lie between the outer faces of the source, shape (n,)."""
        at = self.positions(axis, FINE_STEP)
        return np.asarray((at >= -0.5) & (at <= self.source.grid_size[axis] - 0.5))

    @property
    def shrink(self) -> npt.NDArray[np.float64]:
        """For each axis of `source`: how many of its voxels one target voxel spans, shape (3,)."""
        return np.asarray(np.linalg.norm(self.matrix[:3, :3], axis=1))

    @property
    def upwards(self) -> tuple[bool, bool, bool]:
        """For each axis of `source`: whether its index grows towards R, A or S."""
        i, j, k = (letter in "RAS" for letter in self.source.orientation)
        return (i, j, k)
