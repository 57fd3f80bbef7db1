"""All scores of all structures of one case, in one pass over the two label maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from medseg.errors import EvaluationError
from medseg.metrics.checks import (
    checked_spacing,
    require_same_grid,
    require_tolerance,
    require_values,
)
from medseg.metrics.maps import in_order
from medseg.metrics.overlap import Overlap, Status
from medseg.metrics.surface import SurfaceDistances, SurfaceKind, surface_distances
from medseg.metrics.tubes import cldice
from medseg.types import IntArray


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
    maps = in_order(predicted, reference, spacing, values)
    found = zip(
        values, maps.overlaps(), maps.boundaries(tolerance_mm), maps.surfaces(surface), strict=True
    )
    scores = {}
    for value, overlap, boundary, (there, back) in found:
        apart = None
        if overlap.status == "ok":
            apart = surface_distances(there, back, spacing_mm=maps.spacing_mm)
        tube = cldice(maps.predicted == value, maps.reference == value) if value in tubes else None
        scores[value] = _label_scores(overlap, _Further(apart, boundary, tube), grid, tolerance_mm)
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
