"""What can be scored: shapes, spacings and label values, refused here or trusted afterwards."""

import math
from collections.abc import Sequence

import numpy as np

from medseg.errors import DifferentSpace, EvaluationError
from medseg.types import AnyArray, IntArray, SpacingMm

LARGEST_VALUE = 65535
"""Of a label."""


def require_same_grid(predicted: AnyArray, reference: AnyArray) -> None:
    """Pass if two arrays have one shape, of two or three axes, and hold something.

    Raises:
        DifferentSpace: If their shapes differ.
        EvaluationError: If there are other than two or three axes, or no voxels.
    """
    if predicted.shape != reference.shape:
        raise DifferentSpace(
            "A prediction has the grid of its reference.",
            received=f"shapes {predicted.shape} and {reference.shape}",
            cure="Resample one onto the other first: medseg convert IN OUT --reference OTHER.",
        )
    if predicted.ndim not in (2, 3) or predicted.size == 0:
        raise EvaluationError(
            "A mask has two or three axes and at least one voxel.",
            received=f"shape {predicted.shape}",
            cure="Pass one image of a series, without channels.",
        )


def checked_spacing(spacing_mm: Sequence[float], shape: tuple[int, ...]) -> SpacingMm:
    """The spacing of three axes; that of a missing third is 1.

    Raises:
        EvaluationError: If there is not one positive number for each axis.
    """
    spacing = [float(step) for step in spacing_mm]
    if len(spacing) != len(shape) or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise EvaluationError(
            "Two or three axes have a positive spacing in millimetres each.",
            received=f"shape {shape}, spacing {tuple(spacing)}",
            cure="Repair the header of the file, or pass one spacing for each axis.",
        )
    return spacing[0], spacing[1], spacing[2] if len(spacing) == 3 else 1.0


def require_values(values: Sequence[int], tubes: Sequence[int]) -> None:
    """Pass if values can be scored, and all tubes are among them.

    Raises:
        EvaluationError: If they cannot.
    """
    if len(set(values)) != len(values) or not all(1 <= v <= LARGEST_VALUE for v in values):
        raise EvaluationError(
            f"Label values to score are different numbers from 1 to {LARGEST_VALUE}.",
            received=str(list(values)),
            cure="Leave out the background (0) and name each value once.",
        )
    if not set(tubes) <= set(values):
        raise EvaluationError(
            "Tubes are among the label values to score.",
            received=f"tubes {list(tubes)} of values {list(values)}",
        )


def require_tolerance(tolerance_mm: float) -> None:
    """Pass if this is a distance.

    Raises:
        EvaluationError: If it is not.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise EvaluationError(
            "A tolerance is a distance in millimetres, 0 or more.", received=str(tolerance_mm)
        )


def require_integers(labels: AnyArray) -> None:
    """Pass if an array holds integers or truth values.

    Raises:
        EvaluationError: If it does not.
    """
    if labels.dtype.kind not in "iub":
        raise EvaluationError(
            "A label map holds integers.",
            received=f"type {labels.dtype}",
            cure="Round it to label values first.",
        )


def as_grid(labels: IntArray) -> IntArray:
    """A map as (I, J, K) of uint8 or uint16: the two types that the kernels are compiled for.

    Raises:
        EvaluationError: If it does not hold label values.
    """
    require_integers(labels)
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    if labels.dtype not in (np.uint8, np.uint16):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > LARGEST_VALUE:
            raise EvaluationError(
                f"Label values lie between 0 and {LARGEST_VALUE}.", received=f"{low} to {high}"
            )
        labels = labels.astype(np.uint8 if high < 256 else np.uint16)
    return labels if labels.ndim == 3 else labels[..., np.newaxis]
