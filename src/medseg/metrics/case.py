"""All scores of all structures of one case, in one pass over the two label maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from medseg.errors import EvaluationError
from medseg.metrics.boundary import boundary_overlaps
from medseg.metrics.checks import (
    LARGEST_VALUE,
    as_grid,
    checked_spacing,
    require_same_grid,
    require_tolerance,
    require_values,
)
from medseg.metrics.elements import contour_lengths, surface_areas
from medseg.metrics.kernels import count, find_borders, find_elements
from medseg.metrics.overlap import Overlap, Status
from medseg.metrics.surface import Surface, SurfaceDistances, SurfaceKind, surface_distances
from medseg.metrics.tubes import cldice
from medseg.types import IntArray, SpacingMm


@dataclass(frozen=True)
class LabelScores:
    """What one prediction is worth for one structure.

    Where a mask is empty the scores are set, not computed: both empty gives 1 and 0 mm, one empty
    gives 0 and inf, and `status` says which, so that no average hides it.

    Attributes:
        status: "ok", "both_empty", "missed" (only the reference holds it) or "false_positive".
        dice: Dice coefficient, 0 to 1.
        iou: Intersection over union, 0 to 1.
        hd: Hausdorff distance in mm: the largest surface distance.
        hd95: The larger of the two directed 95th percentiles of the surface distances, in mm.
        assd: Mean of the surface distances of both directions together, in mm.
        nsd: Share of both surfaces within the tolerance of the other, 0 to 1.
        predicted_ml: Volume in the prediction.
        reference_ml: Volume in the reference.
        sensitivity: Share of the reference that was found.
        precision: Share of the prediction that is right.
        specificity: Share of what lies outside of the reference that the prediction leaves out; the
            one score that an empty prediction does not lower.
        volume_difference_ml: Volume in the prediction minus that in the reference.
        relative_volume_difference: The same as a share of the reference: -1 for a missed structure,
            inf for an invented one.
        hd95_pooled: 95th percentile of the surface distances of both directions together, in mm.
        assd_averaged: Mean of the two directed mean surface distances, in mm.
        rmsd: Root of the mean squared surface distance of both directions together, in mm.
        boundary_iou: Intersection over union of what lies within the tolerance of the outside.
        cldice: Overlap of the middle lines of tubes, 0 to 1; None where it was not asked for.
    """

    status: Status
    dice: float
    iou: float
    hd: float
    hd95: float
    assd: float
    nsd: float
    predicted_ml: float
    reference_ml: float
    sensitivity: float
    precision: float
    specificity: float
    volume_difference_ml: float
    relative_volume_difference: float
    hd95_pooled: float
    assd_averaged: float
    rmsd: float
    boundary_iou: float
    cldice: float | None

    @classmethod
    def absent(cls, *, tube: bool = False) -> "LabelScores":
        """Of a structure that neither map holds.

        Args:
            tube: Whether it has a clDice.
        """
        none, skeleton = Overlap(0, 0, 0), 1.0 if tube else None
        return _label_scores(none, _Further(None, none, skeleton), _Grid(1, 0.0), 0.0)

    @classmethod
    def unpredicted(cls, reference_ml: float, *, tube: bool = False) -> "LabelScores":
        """Of a structure that is missed, because there is no prediction at all.

        Args:
            reference_ml: Volume in the reference; 0.0 counts as missed like any other.
            tube: Whether it has a clDice.
        """
        missed, skeleton = Overlap(0, 1, 0), 0.0 if tube else None
        return _label_scores(missed, _Further(None, missed, skeleton), _Grid(2, reference_ml), 0.0)


@dataclass(frozen=True)
class _Grid:
    """How many voxels there are, and how large they are."""

    voxels: int
    voxel_ml: float


@dataclass(frozen=True)
class _Further:
    """What is known of a structure beside its overlap; `apart` is None where a mask is empty."""

    apart: SurfaceDistances | None
    boundary: Overlap
    cldice: float | None


def score_case(
    predicted: IntArray,
    reference: IntArray,
    *,
    values: Sequence[int],
    spacing_mm: Sequence[float],
    tolerance_mm: float = 1.0,
    surface: SurfaceKind = "elements",
    tubes: Sequence[int] = (),
) -> dict[int, LabelScores]:
    """Score each structure of a label map against its reference.

    Args:
        predicted: Label values, shape (I, J, K) or (I, J); K = 1 is a 2D image.
        reference: The same of the reference.
        values: Which label values to score; all others count as background.
        spacing_mm: Distance between voxel centres along each axis.
        tolerance_mm: Surface distance that still counts as right, for `nsd`; also how far the
            region of `boundary_iou` reaches inwards.
        surface: "elements" are those of google-deepmind/surface-distance, weighted by area;
            "borders" are voxels, as MONAI, MedPy and SimpleITK count them.
        tubes: Which of the values get a `cldice`.

    Returns:
        The scores by label value, in the order of `values`.

    Raises:
        DifferentSpace: If the two maps have different shapes.
        EvaluationError: If a map does not hold label values, or the spacing, the tolerance,
            `values`, `tubes` or `surface` make no sense.
    """
    require_same_grid(predicted, reference)
    spacing = checked_spacing(spacing_mm, predicted.shape)
    require_values(values, tubes)
    require_tolerance(tolerance_mm)
    if surface not in get_args(SurfaceKind):
        raise EvaluationError(
            f"A surface is made of {' or '.join(get_args(SurfaceKind))}.", received=repr(surface)
        )
    grid = _Grid(predicted.size, math.prod(spacing) / 1000.0)
    maps, spacing = _in_order((as_grid(predicted), as_grid(reference)), spacing)
    structure_of = np.zeros(LARGEST_VALUE + 1, np.int32)
    structure_of[list(values)] = np.arange(1, len(values) + 1)
    flat = [labels.reshape(-1) for labels in maps]
    counts = count(flat[0], flat[1], (_words(flat[0]), _words(flat[1])), structure_of, len(values))
    overlaps = [Overlap(int(p), int(r), int(both)) for p, r, both in counts[1:]]
    borders = [find_borders(labels, structure_of) for labels in maps]
    boundaries = boundary_overlaps(
        maps,
        (borders[0], borders[1]),
        values=np.array(values, np.int64),
        spacing_mm=spacing,
        distance_mm=tolerance_mm,
    )
    if surface == "elements":
        measures = _measures(spacing, maps[0].shape)
        parts = [find_elements(labels, structure_of) for labels in maps]
        size = tuple(n + 1 if n > 1 or axis else 1 for axis, n in enumerate(maps[0].shape))
        surfaces = [_surfaces(found, size, len(values), measures) for found in parts]
    else:
        surfaces = [_surfaces(found, maps[0].shape, len(values), None) for found in borders]
    scores = {}
    for n, (value, overlap) in enumerate(zip(values, overlaps, strict=True)):
        apart = (
            surface_distances(surfaces[0][n], surfaces[1][n], spacing_mm=spacing)
            if overlap.status == "ok"
            else None
        )
        tube = cldice(maps[0] == value, maps[1] == value) if value in tubes else None
        further = _Further(apart, boundaries[n], tube)
        scores[value] = _label_scores(overlap, further, grid, tolerance_mm)
    return scores


def _label_scores(
    overlap: Overlap, further: _Further, grid: _Grid, tolerance_mm: float
) -> LabelScores:
    apart = further.apart
    far, near = (0.0, 1.0) if overlap.status == "both_empty" else (math.inf, 0.0)
    return LabelScores(
        status=overlap.status,
        dice=overlap.dice,
        iou=overlap.iou,
        hd=apart.hd if apart else far,
        hd95=apart.hd95 if apart else far,
        assd=apart.assd if apart else far,
        nsd=apart.nsd(tolerance_mm) if apart else near,
        predicted_ml=overlap.predicted * grid.voxel_ml,
        reference_ml=overlap.reference * grid.voxel_ml,
        sensitivity=overlap.sensitivity,
        precision=overlap.precision,
        specificity=overlap.specificity(grid.voxels),
        volume_difference_ml=(overlap.predicted - overlap.reference) * grid.voxel_ml,
        relative_volume_difference=overlap.relative_volume_difference,
        hd95_pooled=apart.hd95_pooled if apart else far,
        assd_averaged=apart.assd_averaged if apart else far,
        rmsd=apart.rmsd if apart else far,
        boundary_iou=further.boundary.iou,
        cldice=further.cldice,
    )


def _surfaces(
    found: IntArray,
    size: tuple[int, ...],
    structures: int,
    measures: npt.NDArray[np.float64] | None,
) -> list[Surface]:
    """What was found of all structures, apart; weighted where its codes have measures."""
    owner = found[:, 0].astype(np.uint16)
    order = np.argsort(owner, kind="stable")
    points = np.stack(np.unravel_index(found[order, 1], size), axis=1).astype(np.int32)
    ends = np.cumsum(np.bincount(owner, minlength=structures + 1))
    if measures is None:
        return [Surface(each) for each in np.split(points, ends[:-1])[1:]]
    weights = measures[found[order, 2]]
    return [
        Surface(each, weight)
        for each, weight in zip(
            np.split(points, ends[:-1])[1:], np.split(weights, ends[:-1])[1:], strict=True
        )
    ]


def _measures(spacing_mm: SpacingMm, size: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Area of each code, or length where there is one plane: its codes are those of it twice."""
    if size[0] > 1:
        return surface_areas(spacing_mm)
    lengths = np.zeros(256)
    lengths[np.arange(16) * 17] = contour_lengths(spacing_mm[1:])
    return lengths


def _in_order(
    maps: tuple[IntArray, IntArray], spacing_mm: SpacingMm
) -> tuple[tuple[IntArray, IntArray], SpacingMm]:
    """Both maps as the compiled loops want them: contiguous, read-only, an axis of one voxel first.

    Axes stay in the order of the memory; the step along an axis without neighbours never counts.
    """
    axes = [0, 1, 2]
    if maps[0].strides[0] < maps[0].strides[-1]:
        axes = axes[::-1]
    flat = [axis for axis, size in enumerate(maps[0].shape) if size == 1][-1:]
    axes = flat + [axis for axis in axes if axis not in flat]
    kind = np.result_type(*maps)
    ordered = [
        _read_only(np.ascontiguousarray(labels.transpose(axes), dtype=kind)) for labels in maps
    ]
    a, b, c = (spacing_mm[axis] for axis in axes)
    return (ordered[0], ordered[1]), (max(a, b, c) if flat else a, b, c)


def _words(flat: IntArray) -> npt.NDArray[np.uint64]:
    """The beginning of a map as words of eight bytes."""
    words = flat[: flat.nbytes // 8 * 8 // flat.itemsize].view(np.uint64)
    words.flags.writeable = False
    return words


def _read_only(labels: IntArray) -> IntArray:
    """A view that cannot be written: numba compiles for these apart, so all maps are such."""
    view = labels.view()
    view.flags.writeable = False
    return view
