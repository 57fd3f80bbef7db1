"""How far apart two surfaces are, in millimetres: two definitions, told apart by name.

`elements`: the elements that marching cubes draws between inside and outside, where eight voxels
(four pixels) meet, each weighing its area (length); see `medseg.metrics.elements`. Outside of the
grid is background. As google-deepmind/surface-distance.

`borders`: the mask minus its erosion with the 6-neighbourhood (4 in 2D); voxels at the edge of the
grid count as surface; each voxel weighs the same. As MONAI, MedPy and SimpleITK.

Distances run between corners of voxels, or between their centres, and are exact.

Source:
    Nikolov et al., Journal of Medical Internet Research 23(7), 2021; Maier-Hein et al., Nature
    Methods 21, 2024, supplement, on the definitions and their pitfalls.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.metrics.row_kernels import Points, group_rows, search_rows
from medseg.types import SpacingMm

SurfaceKind = Literal["elements", "borders"]
"""What a surface consists of: area-weighted elements, or voxels."""

ROUNDING_MM = 1e-4
"""A distance that exceeds a tolerance by less is within it: headers hold rounded spacings."""

_STEPS = 400
"""Rows that are searched before the k-d tree takes over; more only pays for distant surfaces."""

_BINS = 1024
"""Of the histogram that narrows a weighted percentile down before anything is sorted."""

_ROUNDING = 1e-9
"""By how much a share of an area may miss a percentile: areas are rounded and summed up."""

Distances = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surface:
    """What the surface of one mask consists of; not empty.

    Attributes:
        points: Indices of voxels or corners in the order of the grid, shape (n, 3).
        weights: Area in mm² (length in mm in 2D) of each, shape (n,); None where all weigh alike.
    """

    points: Points
    weights: Weights | None = None


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between the surfaces of two masks, neither of them empty, in millimetres.

    Attributes:
        to_reference: From each part of the prediction's surface, shape (n,).
        to_predicted: From each part of the reference's surface, shape (m,).
        predicted_weights: Area of the former, shape (n,); None where all weigh the same.
        reference_weights: Area of the latter, shape (m,); None where all weigh the same.
    """

    to_reference: Distances
    to_predicted: Distances
    predicted_weights: Weights | None = None
    reference_weights: Weights | None = None

    @property
    def hd(self) -> float:
        """Largest distance in either direction.

        Source:
            Huttenlocher et al., IEEE TPAMI 15(9), 1993.
        """
        return float(max(self.to_reference.max(), self.to_predicted.max()))

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (not that of the pooled distances).

        With weights it is the smallest distance within which 95 % of the area lies; without, the
        percentile is interpolated between voxels as numpy does.
        """
        there = _percentile_95(self.to_reference, self.predicted_weights)
        return max(there, _percentile_95(self.to_predicted, self.reference_weights))

    @property
    def hd95_pooled(self) -> float:
        """The 95th percentile over the distances of both directions together."""
        distances, weights = self._pooled
        return _percentile_95(distances, weights)

    @property
    def assd(self) -> float:
        """Mean over the distances of both directions together (not the mean of two means)."""
        return _mean(*self._pooled)

    @property
    def assd_averaged(self) -> float:
        """Mean of the two directed means: the smaller surface counts as much as the larger."""
        there = _mean(self.to_reference, self.predicted_weights)
        return (there + _mean(self.to_predicted, self.reference_weights)) / 2

    @property
    def rmsd(self) -> float:
        """Root of the mean squared distance of both directions together.

        Source:
            Heimann et al., IEEE TMI 28(8), 2009.
        """
        distances, weights = self._pooled
        return float(np.sqrt(_mean(distances * distances, weights)))

    def nsd(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within `tolerance_mm` of the other, by area.

        Source:
            Nikolov et al., Journal of Medical Internet Research 23(7), 2021.
        """
        distances, weights = self._pooled
        within = distances <= tolerance_mm + ROUNDING_MM
        if weights is None:
            return float(within.mean())
        return float(np.where(within, weights, 0.0).sum() / weights.sum())

    @property
    def _pooled(self) -> tuple[Distances, Weights | None]:
        distances = np.concatenate([self.to_reference, self.to_predicted])
        if self.predicted_weights is None or self.reference_weights is None:
            return distances, None
        return distances, np.concatenate([self.predicted_weights, self.reference_weights])


def surface_distances(
    predicted: Surface, reference: Surface, *, spacing_mm: SpacingMm
) -> SurfaceDistances:
    """Distances between two surfaces.

    Args:
        predicted: The surface of the prediction.
        reference: The surface of the reference.
        spacing_mm: Distance between voxel centres along each axis.
    """
    rows_along = int(np.argmin(spacing_mm))
    axes = [*(axis for axis in range(3) if axis != rows_along), rows_along]
    there, back = (np.take(one.points, axes, axis=1) for one in (predicted, reference))
    a, b, c = (float(spacing_mm[axis]) for axis in axes)
    return SurfaceDistances(
        _nearest(there, back, (a, b, c)),
        _nearest(back, there, (a, b, c)),
        predicted.weights,
        reference.weights,
    )


def _mean(values: Distances, weights: Weights | None) -> float:
    if weights is None:
        return float(values.mean())
    return float(values @ weights / weights.sum())


def _percentile_95(distances: Distances, weights: Weights | None) -> float:
    """Interpolated without weights; with them the first distance that 95 % of the weight reach."""
    if weights is None:
        return float(np.percentile(distances, 95))
    largest = distances.max()
    if largest == 0:
        return 0.0
    bins = np.minimum(distances * (_BINS / largest), _BINS - 1).astype(np.intp)
    reached = np.cumsum(np.bincount(bins, weights, _BINS))
    wanted = (0.95 - _ROUNDING) * reached[-1]
    at = int(np.searchsorted(reached, wanted))
    inside = bins == at
    order = np.argsort(distances[inside])
    rising = np.cumsum(weights[inside][order]) + (reached[at - 1] if at else 0.0)
    found = min(int(np.searchsorted(rising, wanted)), order.size - 1)
    return float(distances[inside][order][found])


def _nearest(points: Points, targets: Points, spacing_mm: SpacingMm) -> Distances:
    """Distance in mm from each point to the nearest target; rows run along the last axis."""
    low = np.array([targets[:, axis].min() for axis in range(2)], np.int64)
    rows = np.array([targets[:, axis].max() for axis in range(2)], np.int64) - low + 1
    begin, depth = group_rows(targets, low, rows)
    steps, steps_mm2 = _steps(spacing_mm[0], spacing_mm[1])
    squared = search_rows(points, begin, depth, low, rows, steps, steps_mm2, spacing_mm[2])
    distances: Distances = np.sqrt(np.maximum(squared, 0.0))
    far = squared < 0
    if far.any():
        from scipy.spatial import cKDTree  # slow to load, and few surfaces are that far apart

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
