"""Finding things rather than outlining them: lesions of a mask, and objects that are numbered.

A *lesion* is a connected part of a mask, across faces, edges and corners of voxels. Which lesion of
the prediction stands for which of the reference is decided as `medseg.metrics.matching` says.

Source:
    Kirillov et al., Panoptic Segmentation, CVPR 2019; Maier-Hein et al., Metrics Reloaded, Nature
    Methods 21, 2024, section on instance segmentation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import center_of_mass, find_objects, generate_binary_structure, label

from medseg.errors import EvaluationError
from medseg.metrics.checks import checked_spacing, require_integers, require_same_grid
from medseg.metrics.matching import Matching, meetings, pair_up
from medseg.metrics.overlap import Overlap
from medseg.types import IntArray, Mask

LesionStatus = Literal["matched", "missed", "false_positive"]
"""Whether a lesion is in both masks, only in the reference, or only in the prediction."""


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes:
        status: Where it is.
        reference_ml: Volume in the reference; 0.0 where it is not.
        predicted_ml: Volume in the prediction; 0.0 where it is not.
        dice: Of the pair; 0.0 without partner.
        iou: Of the pair; 0.0 without partner.
        centre: Voxel indices of its centre of mass, in the reference if it is there.
    """

    status: LesionStatus
    reference_ml: float
    predicted_ml: float
    dice: float
    iou: float
    centre: tuple[float, ...]


@dataclass(frozen=True)
class LesionScores:
    """How well lesions were found; shares of nothing are as those of `Overlap`.

    Attributes:
        reference_lesions: Number of lesions in the reference.
        predicted_lesions: Number of lesions in the prediction.
        matched: Number of pairs.
        f1: Twice the pairs over all lesions of both.
        sensitivity: Share of the reference's lesions that were found.
        precision: Share of the prediction's lesions that are there.
        mean_lesion_dice: Mean Dice over the lesions of the reference, 0 for one that was missed;
            1.0 if both masks are empty, 0.0 if only the reference is.
        lesions: Those of the reference in the order of the grid, then those that were invented.
    """

    reference_lesions: int
    predicted_lesions: int
    matched: int
    f1: float
    sensitivity: float
    precision: float
    mean_lesion_dice: float
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True)
class PanopticScores:
    """How well numbered objects were found and outlined.

    Attributes:
        pq: Panoptic quality: the sum of the IoU of all pairs over the mean number of objects. The
            product of `sq` and `rq`; 1.0 if both maps are empty.
        sq: Segmentation quality: mean IoU of the pairs; 0.0 without pairs, but 1.0 if both maps are
            empty.
        rq: Recognition quality: F1 of finding the objects; 1.0 if both maps are empty.
        tp: Pairs.
        fp: Objects of the prediction without partner.
        fn: Objects of the reference without partner.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int


def score_lesions(
    predicted: Mask,
    reference: Mask,
    *,
    spacing_mm: Sequence[float],
    matching: Matching = "overlap",
) -> LesionScores:
    """Judge each connected part of a mask by itself.

    Args:
        predicted: Shape (I, J, K) or (I, J).
        reference: The same of the reference.
        spacing_mm: Distance between voxel centres along each axis.
        matching: Which lesions belong together; see `Matching`.

    Raises:
        DifferentSpace: If the masks have different shapes.
        EvaluationError: If a mask does not hold truth values or integers, or the spacing or the
            matching make no sense.
    """
    _check(predicted, reference, matching)
    voxel_ml = math.prod(checked_spacing(spacing_mm, predicted.shape)) / 1000.0
    whole = generate_binary_structure(predicted.ndim, predicted.ndim)
    there, n_there = label(predicted != 0, whole)
    back, n_back = label(reference != 0, whole)
    sizes = meetings(there, back)
    pairs = pair_up(sizes, matching)
    lesions = [
        _lesion(sizes.overlap(pairs.get(n), n), voxel_ml, centre)
        for n, centre in enumerate(_centres(back, n_back), start=1)
    ]
    scored = Overlap(n_there, n_back, len(pairs))
    dice = sum(lesion.dice for lesion in lesions) / n_back if n_back else scored.dice
    alone = set(range(1, n_there + 1)) - set(pairs.values())
    lesions += [
        _lesion(sizes.overlap(n, None), voxel_ml, centre)
        for n, centre in enumerate(_centres(there, n_there), start=1)
        if n in alone
    ]
    return LesionScores(
        reference_lesions=n_back,
        predicted_lesions=n_there,
        matched=len(pairs),
        f1=scored.dice,
        sensitivity=scored.sensitivity,
        precision=scored.precision,
        mean_lesion_dice=dice,
        lesions=tuple(lesions),
    )


def panoptic_quality(
    predicted: IntArray, reference: IntArray, *, matching: Matching = "half"
) -> PanopticScores:
    """Judge numbered objects.

    Args:
        predicted: The number of the object that each voxel belongs to, 0 for none; shape (I, J, K)
            or (I, J). Numbers need not be the same in both maps, nor consecutive.
        reference: The same of the reference.
        matching: Which objects belong together; the source's is "half".

    Raises:
        DifferentSpace: If the maps have different shapes.
        EvaluationError: If a map does not hold integers from 0 on, or there is no such matching.
    """
    _check(predicted, reference, matching)
    for numbers in (predicted, reference):
        if numbers.min() < 0:
            raise EvaluationError(
                "Objects are numbered from 1 on; 0 is background.", received=str(numbers.min())
            )
    there, n_there = _renumbered(predicted)
    back, n_back = _renumbered(reference)
    sizes = meetings(there, back)
    pairs = pair_up(sizes, matching)
    scored = Overlap(n_there, n_back, len(pairs))
    total = sum(sizes.overlap(p, r).iou for r, p in pairs.items())
    sq = total / len(pairs) if pairs else float(scored.status == "both_empty")
    return PanopticScores(
        pq=sq * scored.dice,
        sq=sq,
        rq=scored.dice,
        tp=len(pairs),
        fp=n_there - len(pairs),
        fn=n_back - len(pairs),
    )


def _centres(parts: IntArray, number: int) -> list[tuple[float, ...]]:
    """Voxel indices of the centre of mass of each part."""
    centres = []
    for n, box in enumerate(find_objects(parts, number), start=1):
        inside = center_of_mass(parts[box] == n)
        centres.append(tuple(float(part.start + at) for part, at in zip(box, inside, strict=True)))
    return centres


def _lesion(overlap: Overlap, voxel_ml: float, centre: tuple[float, ...]) -> Lesion:
    status: LesionStatus = "false_positive" if not overlap.reference else "missed"
    return Lesion(
        status="matched" if overlap.both else status,
        reference_ml=overlap.reference * voxel_ml,
        predicted_ml=overlap.predicted * voxel_ml,
        dice=overlap.dice,
        iou=overlap.iou,
        centre=centre,
    )


def _renumbered(numbers: IntArray) -> tuple[IntArray, int]:
    """The same objects, numbered without gaps from 1 on, and how many there are."""
    inside = numbers > 0
    found, renumbered = np.unique(numbers[inside], return_inverse=True)
    result = np.zeros(numbers.shape, np.int64)
    result[inside] = renumbered + 1
    return result, found.size


def _check(predicted: IntArray | Mask, reference: IntArray | Mask, matching: str) -> None:
    require_same_grid(predicted, reference)
    for mask in (predicted, reference):
        require_integers(mask)
    if matching not in get_args(Matching):
        raise EvaluationError(
            f"Parts are matched by {' or '.join(get_args(Matching))}.", received=repr(matching)
        )
