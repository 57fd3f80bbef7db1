"""Paired tests: two models on one structure, and all such tests as one family."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medseg.report.scores.summary import OVERLAPS, resamples
from medseg.report.scores.verdict import PairedDifference, sentence_of

SIGNIFICANT = 0.05
"""A difference counts if Holm's p is below, and the bootstrap interval of 95 % leaves out zero."""

Numbers = npt.NDArray[np.float64]


def paired_differences(
    columns: Mapping[str, Mapping[str, Numbers]], metric: str
) -> list[PairedDifference]:
    """All pairs of models on all structures, as one family of tests.

    Args:
        columns: By structure and model the scores, shape (cases, 1), NaN where there is none.
        metric: The score that decides.
    """
    raw = [
        (label, first, second, np.stack([models[first][:, 0], models[second][:, 0]]))
        for label, models in columns.items()
        for first, second in combinations(models, 2)
    ]
    pairs = [both[:, np.isfinite(both).all(axis=0)] for *_, both in raw]
    p_raw = [wilcoxon_p(both[0] - both[1]) for both in pairs]
    p_holm = holm(p_raw)
    return [
        _difference(label, first, second, both, (p, corrected), metric)
        for (label, first, second, _), both, p, corrected in zip(
            raw, pairs, p_raw, p_holm, strict=True
        )
    ]


def _difference(
    label: str,
    first: str,
    second: str,
    both: Numbers,
    p: tuple[float, float],
    metric: str,
) -> PairedDifference:
    apart = both[0] - both[1]
    n = apart.size
    mean = float(apart.mean()) if n else math.nan
    low = high = None
    if n > 1:
        drawn = resamples(n) @ apart / n
        low, high = (float(x) for x in np.percentile(drawn, (2.5, 97.5)))
    winner = None
    if low is not None and high is not None and p[1] < SIGNIFICANT and (low > 0 or high < 0):
        winner = first if (low > 0) == (metric in OVERLAPS) else second
    found = PairedDifference(
        label=label,
        first=first,
        second=second,
        n=n,
        first_mean=float(both[0].mean()) if n else math.nan,
        second_mean=float(both[1].mean()) if n else math.nan,
        difference=mean,
        ci_low=low,
        ci_high=high,
        p=p[0],
        p_holm=p[1],
        winner=winner,
        sentence="",
    )
    return sentence_of(found, metric)


def wilcoxon_p(differences: Numbers) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are zero, or none is.

    Args:
        differences: Paired differences, shape (cases,).
    """
    if not np.any(differences):
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences, zero_method="pratt").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of tests.

    Args:
        p: The p of each test.

    Returns:
        Corrected p, at most 1, in the same order.
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, largest = [1.0] * len(p), 0.0
    for place, n in enumerate(order):
        largest = max(largest, min(1.0, p[n] * (len(p) - place)))
        corrected[n] = largest
    return corrected
