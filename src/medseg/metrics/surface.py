"""How far apart two surfaces are, in millimetres.

Surface voxels are the mask minus its erosion with the 6-neighbourhood (4 in 2D); voxels at the edge
of the grid count as surface. This is the voxel-border definition of MONAI, MedPy and SimpleITK.
Distances run between voxel centres and are exact.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from medseg.metrics.kernels import Points, group_rows, search_rows
from medseg.types import SpacingMm

ROUNDING_MM = 1e-4
"""A distance that exceeds a tolerance by less is within it: headers hold rounded spacings."""

_STEPS = 400
"""Rows that are searched before the k-d tree takes over; more only pays for distant surfaces."""

Distances = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances of the surface voxels of two masks, neither of them empty, in millimetres.

    Attributes:
        to_reference: From each surface voxel of the prediction, shape (n,).
        to_predicted: From each surface voxel of the reference, shape (m,).
    """

    to_reference: Distances
    to_predicted: Distances

    @property
    def hd(self) -> float:
        """Largest distance in either direction.

        Source:
            Huttenlocher et al., IEEE TPAMI 15(9), 1993.
        """
        return float(max(self.to_reference.max(), self.to_predicted.max()))

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (not that of the pooled distances)."""
        there, back = np.percentile(self.to_reference, 95), np.percentile(self.to_predicted, 95)
        return float(max(there, back))

    @property
    def assd(self) -> float:
        """Mean over the distances of both directions together (not the mean of two means)."""
        total = self.to_reference.sum() + self.to_predicted.sum()
        return float(total / (self.to_reference.size + self.to_predicted.size))

    def nsd(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within `tolerance_mm` of the other.

        Counted in surface voxels, not in surface area.

        Source:
            Nikolov et al., Journal of Medical Internet Research 23(7), 2021.
        """
        limit = tolerance_mm + ROUNDING_MM
        within = (self.to_reference <= limit).sum() + (self.to_predicted <= limit).sum()
        return float(within / (self.to_reference.size + self.to_predicted.size))


def surface_distances(
    predicted: Points, reference: Points, *, spacing_mm: SpacingMm
) -> SurfaceDistances:
    """Distances between two sets of surface voxels.

    Args:
        predicted: Voxel indices in the order of the grid, shape (n, 3), n >= 1.
        reference: The same of the reference.
        spacing_mm: Distance between voxel centres along each axis.
    """
    rows_along = int(np.argmin(spacing_mm))
    axes = [*(axis for axis in range(3) if axis != rows_along), rows_along]
    there, back = (np.ascontiguousarray(points[:, axes]) for points in (predicted, reference))
    a, b, c = (float(spacing_mm[axis]) for axis in axes)
    return SurfaceDistances(_nearest(there, back, (a, b, c)), _nearest(back, there, (a, b, c)))


def _nearest(points: Points, targets: Points, spacing_mm: SpacingMm) -> Distances:
    """Distance in mm from each point to the nearest target; rows run along the last axis."""
    low = targets[:, :2].min(axis=0).astype(np.int64)
    rows = targets[:, :2].max(axis=0).astype(np.int64) - low + 1
    begin, depth = group_rows(targets, low, rows)
    steps, steps_mm2 = _steps(spacing_mm[0], spacing_mm[1])
    squared = search_rows(points, begin, depth, low, rows, steps, steps_mm2, spacing_mm[2])
    distances: Distances = np.sqrt(np.maximum(squared, 0.0))
    far = squared < 0
    if far.any():
        tree = cKDTree(targets * np.asarray(spacing_mm), balanced_tree=False, compact_nodes=False)
        distances[far] = tree.query(points[far] * np.asarray(spacing_mm))[0]
    return distances


@lru_cache(maxsize=64)
def _steps(a_mm: float, b_mm: float) -> tuple[npt.NDArray[np.int64], Distances]:
    """The `_STEPS` shortest steps between rows, shortest first, and their squared lengths."""
    reach = np.arange(-_STEPS // 2, _STEPS // 2 + 1)
    steps = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    length_mm2 = (steps[:, 0] * a_mm) ** 2 + (steps[:, 1] * b_mm) ** 2
    order = np.argsort(length_mm2, kind="stable")[:_STEPS]
    return np.ascontiguousarray(steps[order].astype(np.int64)), length_mm2[order]
