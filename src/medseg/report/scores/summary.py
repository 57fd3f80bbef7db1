"""Means that hide nothing, with bootstrap intervals over cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medseg.metrics.case import LabelScores
from medseg.metrics.paired import resamples

OVERLAPS = (
    "dice", "iou", "nsd", "sensitivity", "precision", "specificity", "boundary_iou", "cldice",
)  # fmt: skip
"""Scores from 0 to 1, more is better: averaged over all cases, empty ones too; `cldice` only of
structures that are tubes."""

DISTANCES = ("hd", "hd95", "hd95_pooled", "assd", "assd_averaged", "rmsd")
"""Scores in mm, averaged over the cases where prediction and reference both hold the structure."""

VOLUMES = ("volume_difference_ml", "relative_volume_difference")
"""Prediction minus reference: 0 is best, the mean is the bias; cases where it is infinite (an
invented structure, relative to nothing) are left out and counted."""

METRICS = (
    "dice", "iou", "hd", "hd95", "assd", "nsd",
    "sensitivity", "precision", "specificity", "volume_difference_ml",
    "relative_volume_difference", "hd95_pooled", "assd_averaged", "rmsd", "boundary_iou", "cldice",
)  # fmt: skip
"""All scores of a structure in a case, in the order of the files."""

TITLES = {
    "dice": "Dice", "iou": "IoU", "nsd": "Surface Dice", "sensitivity": "Sensitivity",
    "precision": "Precision", "specificity": "Specificity", "boundary_iou": "Boundary IoU",
    "cldice": "clDice", "hd": "HD mm", "hd95": "HD95 mm", "hd95_pooled": "HD95 pooled mm",
    "assd": "ASSD mm", "assd_averaged": "ASSD averaged mm", "rmsd": "RMS distance mm",
    "volume_difference_ml": "Volume difference ml",
    "relative_volume_difference": "Relative volume difference",
}  # fmt: skip
"""What people call the scores, with their units."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over cases.

    Attributes:
        mean: None where no case has a number.
        ci_low: Lower end of the 95 % percentile interval of 2000 seeded resamples of the
            cases; None below two cases.
        ci_high: Its upper end.
        n: Number of cases in the mean.
        penalised: For distances: the mean over all cases but those with both masks empty, a missed
            or invented structure counting the image's diagonal. None for other scores.
    """

    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    penalised: float | None = None


@dataclass(frozen=True)
class LabelSummary:
    """One structure over all cases, or all structures together.

    Attributes:
        n: Number of scores: cases, or cases times structures.
        both_empty: Where neither prediction nor reference holds it.
        missed: Where only the reference does.
        false_positive: Where only the prediction does.
        means: By the name of the score.
    """

    n: int
    both_empty: int
    missed: int
    false_positive: int
    means: Mapping[str, Mean] = field(default_factory=dict)


def summarise(
    cases: Sequence[Sequence[LabelScores]], diagonals_mm: Sequence[float], names: Sequence[str]
) -> tuple[dict[str, LabelSummary], LabelSummary]:
    """Sum up each structure, and the mean over structures.

    The mean over structures is the mean of the structures' means; its interval resamples cases with
    all their structures, since structures of one case are not independent.

    Args:
        cases: Scores of each case, one for each of `names`.
        diagonals_mm: Diagonal of each case's grid, the penalty for a missed structure.
        names: Names of the structures.
    """
    weights = resamples(len(cases))
    status = np.array([[scores.status for scores in case] for case in cases]).reshape(
        -1, len(names)
    )
    penalty = np.broadcast_to(np.asarray(diagonals_mm)[:, np.newaxis], status.shape)
    by_label: list[dict[str, Mean]] = [{} for _ in names]
    overall: dict[str, Mean] = {}
    for metric in METRICS:
        found = [[getattr(scores, metric) for scores in case] for case in cases]
        numbers = np.array(found, np.float64).reshape(status.shape)
        penalised = None
        if metric in DISTANCES:
            penalised = np.where(np.isinf(numbers), penalty, numbers)
            penalised = np.where(status == "both_empty", np.nan, penalised)
            numbers = np.where(status == "ok", numbers, np.nan)
        for n, means in enumerate(by_label):
            means[metric] = _mean(
                numbers[:, [n]], weights, None if penalised is None else penalised[:, [n]]
            )
        overall[metric] = _mean(numbers, weights, penalised)
    labels = {name: _summary(status[:, n], by_label[n]) for n, name in enumerate(names)}
    return labels, _summary(status, overall)


def mean_of(numbers: Numbers) -> Mean:
    """The mean over structures of the means over cases, with its interval.

    Args:
        numbers: Scores of shape (cases, structures); NaN where there is none.
    """
    return _mean(numbers, resamples(len(numbers)), None)


def _summary(status: npt.NDArray[np.str_], means: dict[str, Mean]) -> LabelSummary:
    counts = [int((status == word).sum()) for word in ("both_empty", "missed", "false_positive")]
    return LabelSummary(status.size, counts[0], counts[1], counts[2], means)


def _mean(
    numbers: Numbers,
    weights: Numbers,
    penalised: Numbers | None,
) -> Mean:
    """The mean of column means of (cases, structures), NaN left out, and its interval."""
    valid = np.isfinite(numbers)
    n = int(valid.any(axis=1).sum())
    worst = None if penalised is None else _finite(column_means(penalised, None))
    if n == 0:
        return Mean(None, None, None, 0, worst)
    mean = _finite(column_means(numbers, None))
    if n < 2:
        return Mean(mean, None, None, n, worst)
    spread = column_means(numbers, weights)
    low, high = np.nanpercentile(spread, (2.5, 97.5))
    return Mean(mean, float(low), float(high), n, worst)


def column_means(numbers: Numbers, weights: Numbers | None) -> Numbers:
    """Mean over columns of each column's weighted mean, for each row of weights; NaN left out."""
    valid = np.isfinite(numbers)
    rows = np.ones((1, len(numbers))) if weights is None else weights
    counts = rows @ valid.astype(np.float64)
    with np.errstate(invalid="ignore"):
        columns = (rows @ np.where(valid, numbers, 0.0)) / counts
    known = np.isfinite(columns)
    with np.errstate(invalid="ignore"):
        means = np.where(known, columns, 0.0).sum(axis=1) / known.sum(axis=1)
    return np.asarray(means)


def _finite(means: Numbers) -> float | None:
    return float(means[0]) if np.isfinite(means[0]) else None
