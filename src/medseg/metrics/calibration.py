"""Whether probabilities mean what they say.

Source:
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (expected calibration error);
    Brier, Monthly Weather Review 78(1), 1950.
"""

from dataclasses import dataclass

import numpy as np

from medseg.errors import EvaluationError
from medseg.metrics.checks import require_same_grid
from medseg.types import FloatArray, Mask

_AT_ONCE = 1 << 20
"""Voxels that are looked at together, so that memory does not grow with the image."""


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of one structure are what they say, over all voxels.

    Bins have equal width. A probability on the edge of two belongs to the lower one, as in the
    source; 0 belongs to the first. In the source's words a probability is a confidence, and how
    often it was right an accuracy.

    Attributes:
        ece: Expected calibration error: the mean, over all voxels, of the distance between the mean
            probability of a voxel's bin and how often the structure is there in that bin. Most
            voxels of an image are sure background, and make it small.
        brier: Mean squared difference between the probability and 1 or 0.
        confidence: Mean probability of each bin; NaN for an empty one.
        accuracy: How often the structure is there in each bin; NaN for an empty one.
        count: Voxels of each bin.
    """

    ece: float
    brier: float
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


def calibration(probability: FloatArray, reference: Mask, *, bins: int = 15) -> Calibration:
    """Compare the probabilities of one structure with where it is.

    Args:
        probability: That a voxel belongs to the structure, 0 to 1, shape (I, J, K) or (I, J).
        reference: Where the structure is, same shape.
        bins: How many bins there are from 0 to 1.

    Raises:
        DifferentSpace: If the shapes differ.
        EvaluationError: If a probability is NaN or not between 0 and 1, the reference does not
            hold truth values, or there are no bins.
    """
    require_same_grid(probability, reference)
    _check(probability, reference, bins)
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    count, sure, there = np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins)
    squares = 0.0
    flat, mask = probability.reshape(-1), reference.reshape(-1)
    for start in range(0, flat.size, _AT_ONCE):
        p = flat[start : start + _AT_ONCE].astype(np.float64)
        inside = mask[start : start + _AT_ONCE]
        bin_of = np.searchsorted(edges, p, side="left")
        count += np.bincount(bin_of, minlength=bins)
        sure += np.bincount(bin_of, p, bins)
        there += np.bincount(bin_of, inside, bins)
        squares += float(((p - inside) ** 2).sum())
    with np.errstate(invalid="ignore"):
        confidence, accuracy = sure / count, there / count
    return Calibration(
        ece=float(np.abs(sure - there).sum() / flat.size),
        brier=squares / flat.size,
        confidence=tuple(confidence.tolist()),
        accuracy=tuple(accuracy.tolist()),
        count=tuple(count.tolist()),
    )


def _check(probability: FloatArray, reference: Mask, bins: int) -> None:
    if probability.dtype.kind != "f":
        raise EvaluationError(
            "Probabilities are floating numbers.", received=f"type {probability.dtype}"
        )
    low, high = float(probability.min()), float(probability.max())
    if not (low >= 0.0 and high <= 1.0):  # also where one is NaN
        raise EvaluationError(
            "Probabilities lie between 0 and 1.",
            received=f"{low:g} to {high:g}",
            cure="Pass probabilities, not logits: softmax or sigmoid first.",
        )
    if reference.dtype != np.bool_:
        raise EvaluationError(
            "A structure is where its mask is true.",
            received=f"type {reference.dtype}",
            cure="Pass label_map == value.",
        )
    if bins < 1:
        raise EvaluationError("There is at least one bin.", received=str(bins))
