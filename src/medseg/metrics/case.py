"""All scores of all structures of one case, in one pass over the two label maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import DifferentSpace, EvaluationError
from medseg.metrics.kernels import Points, collect, count
from medseg.metrics.overlap import Overlap, Status
from medseg.metrics.surface import SurfaceDistances, surface_distances
from medseg.types import IntArray, SpacingMm

_LARGEST_VALUE = 65535


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


def score_case(
    predicted: IntArray,
    reference: IntArray,
    *,
    values: Sequence[int],
    spacing_mm: Sequence[float],
    tolerance_mm: float = 1.0,
) -> dict[int, LabelScores]:
    """Score each structure of a label map against its reference.

    Args:
        predicted: Label values, shape (I, J, K) or (I, J); K = 1 is a 2D image.
        reference: The same of the reference.
        values: Which label values to score; all others count as background.
        spacing_mm: Distance between voxel centres along each axis.
        tolerance_mm: Surface distance that still counts as right, for `nsd`.

    Returns:
        The scores by label value, in the order of `values`.

    Raises:
        DifferentSpace: If the two maps have different shapes.
        EvaluationError: If a map does not hold label values, or the spacing, the tolerance or
            `values` make no sense.
    """
    spacing = _checked_spacing(spacing_mm, predicted.shape, reference.shape)
    _check_values(values, tolerance_mm)
    maps = [_as_grid(predicted), _as_grid(reference)]
    if predicted.ndim == 3 and predicted.strides[0] < predicted.strides[-1]:
        maps, spacing = (
            [labels.transpose() for labels in maps],
            (spacing[2], spacing[1], spacing[0]),
        )
    kind = np.result_type(*maps)
    maps = [_read_only(np.ascontiguousarray(labels, dtype=kind)) for labels in maps]
    overlaps, distances = _measure(maps[0], maps[1], values, spacing)
    voxel_ml = math.prod(spacing) / 1000.0
    return {
        value: _label_scores(overlap, apart, voxel_ml, tolerance_mm)
        for value, overlap, apart in zip(values, overlaps, distances, strict=True)
    }


def _measure(
    predicted: IntArray, reference: IntArray, values: Sequence[int], spacing_mm: SpacingMm
) -> tuple[list[Overlap], list[SurfaceDistances | None]]:
    """Overlap and surface distances of each value; None where a mask is empty."""
    structure_of = np.zeros(_LARGEST_VALUE + 1, np.int32)
    structure_of[list(values)] = np.arange(1, len(values) + 1)
    voxels, surface, used = count(predicted, reference, structure_of, len(values))
    points = [
        _collected(labels, structure_of, used, surface[:, n])
        for n, labels in enumerate((predicted, reference))
    ]
    overlaps = [Overlap(int(p), int(r), int(both)) for p, r, both in voxels[1:]]
    distances = [
        surface_distances(points[0][n], points[1][n], spacing_mm=spacing_mm)
        if overlap.status == "ok"
        else None
        for n, overlap in enumerate(overlaps)
    ]
    return overlaps, distances


def _collected(
    labels: IntArray, structure_of: IntArray, used: IntArray, counts: IntArray
) -> list[Points]:
    """The surface voxels of each structure."""
    ends = np.cumsum(counts)
    points = collect(labels, structure_of, used, ends - counts, int(ends[-1]))
    return list(np.split(points, ends[:-1])[1:])


def _label_scores(
    overlap: Overlap, apart: SurfaceDistances | None, voxel_ml: float, tolerance_mm: float
) -> LabelScores:
    if apart is None:
        none_there = overlap.status == "both_empty"
        hd = hd95 = assd = 0.0 if none_there else math.inf
        nsd = 1.0 if none_there else 0.0
    else:
        hd, hd95, assd, nsd = apart.hd, apart.hd95, apart.assd, apart.nsd(tolerance_mm)
    return LabelScores(
        status=overlap.status,
        dice=overlap.dice,
        iou=overlap.iou,
        hd=hd,
        hd95=hd95,
        assd=assd,
        nsd=nsd,
        predicted_ml=overlap.predicted * voxel_ml,
        reference_ml=overlap.reference * voxel_ml,
    )


def _checked_spacing(
    spacing_mm: Sequence[float], predicted: tuple[int, ...], reference: tuple[int, ...]
) -> SpacingMm:
    if predicted != reference:
        raise DifferentSpace(
            "A prediction has the grid of its reference.",
            received=f"shapes {predicted} and {reference}",
            cure="Resample one onto the other first: medseg convert IN OUT --reference OTHER.",
        )
    spacing = [float(step) for step in spacing_mm]
    fits = len(predicted) in (2, 3) and len(spacing) == len(predicted) and math.prod(predicted) > 0
    if not fits or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise EvaluationError(
            "Two or three axes have a positive spacing in millimetres each.",
            received=f"shape {predicted}, spacing {tuple(spacing)}",
            cure="Repair the header of the file, or pass one spacing for each axis.",
        )
    return spacing[0], spacing[1], spacing[2] if len(spacing) == 3 else 1.0


def _check_values(values: Sequence[int], tolerance_mm: float) -> None:
    if len(set(values)) != len(values) or not all(1 <= v <= _LARGEST_VALUE for v in values):
        raise EvaluationError(
            f"Label values to score are different numbers from 1 to {_LARGEST_VALUE}.",
            received=str(list(values)),
            cure="Leave out the background (0) and name each value once.",
        )
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise EvaluationError(
            "A tolerance is a distance in millimetres, 0 or more.", received=str(tolerance_mm)
        )


def _as_grid(labels: IntArray) -> IntArray:
    """A map as (I, J, K) of uint8 or uint16: the two types that the kernels are compiled for."""
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise EvaluationError(
            "A label map holds integers.",
            received=f"type {labels.dtype}",
            cure="Round it to label values first.",
        )
    if labels.dtype not in (np.uint8, np.uint16):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > _LARGEST_VALUE:
            raise EvaluationError(
                f"Label values lie between 0 and {_LARGEST_VALUE}.", received=f"{low} to {high}"
            )
        labels = labels.astype(np.uint8 if high < 256 else np.uint16)
    return labels if labels.ndim == 3 else labels[..., np.newaxis]


def _read_only(labels: IntArray) -> IntArray:
    """A view that cannot be written: numba compiles for these apart, so all maps are such."""
    view = labels.view()
    view.flags.writeable = False
    return view
