"""Paired tests: two models on one structure, and all such tests as one family."""

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medseg.metrics.paired import SIGNIFICANT, Gain, gain_of, holm
from medseg.report.scores.summary import OVERLAPS
from medseg.report.scores.verdict import PairedDifference, sentence_of

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
    gains = [gain_of(both[0] - both[1]) for both in pairs]
    p_holm = holm([gain.p for gain in gains])
    return [
        _difference(label, first, second, both, (gain, corrected), metric)
        for (label, first, second, _), both, gain, corrected in zip(
            raw, pairs, gains, p_holm, strict=True
        )
    ]


def _difference(
    label: str,
    first: str,
    second: str,
    both: Numbers,
    told: tuple[Gain, float],
    metric: str,
) -> PairedDifference:
    gain, p_holm = told
    low, high, n = gain.ci_low, gain.ci_high, gain.n
    winner = None
    if low is not None and high is not None and p_holm < SIGNIFICANT and (low > 0 or high < 0):
        winner = first if (low > 0) == (metric in OVERLAPS) else second
    found = PairedDifference(
        label=label,
        first=first,
        second=second,
        n=n,
        first_mean=float(both[0].mean()) if n else math.nan,
        second_mean=float(both[1].mean()) if n else math.nan,
        difference=gain.mean,
        ci_low=low,
        ci_high=high,
        p=gain.p,
        p_holm=p_holm,
        winner=winner,
        sentence="",
    )
    return sentence_of(found, metric)
