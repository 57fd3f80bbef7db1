"""Whether one set of scores is better than another on the same cases, beyond chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SIGNIFICANT = 0.05
"""A difference counts if Holm's p is below, and the bootstrap interval of 95 % leaves out zero."""

_RESAMPLES, _SEED = 2000, 20260101

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """A mean paired difference and how firm it is.

    Attributes:
        mean: Mean of the differences; NaN without any.
        ci_low: Lower end of the 95 % percentile interval of seeded resamples of the cases; None
            below two cases.
        ci_high: Its upper end.
        p: Two-sided, of Wilcoxon's signed-rank test.
        n: Number of differences.
    """

    mean: float
    ci_low: float | None
    ci_high: float | None
    p: float
    n: int

    def is_better(self, p: float) -> bool:
        """Whether a corrected p and the interval both say that the mean is above zero."""
        return p < SIGNIFICANT and self.ci_low is not None and self.ci_low > 0


def gain_of(differences: Numbers) -> Gain:
    """Sum up paired differences.

    Args:
        differences: One for each case, shape (cases,), all finite.
    """
    n = differences.size
    mean = float(differences.mean()) if n else math.nan
    low = high = None
    if n > 1:
        drawn = resamples(n) @ differences / n
        low, high = (float(x) for x in np.percentile(drawn, (2.5, 97.5)))
    return Gain(mean, low, high, wilcoxon_p(differences), n)


def wilcoxon_p(differences: Numbers) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are zero, or none is.

    Args:
        differences: Paired differences, shape (cases,).

    Source:
        Wilcoxon, Biometrics Bulletin 1(6), 1945; ties at zero as in Pratt, JASA 54, 1959.
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

    Source:
        Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, largest = [1.0] * len(p), 0.0
    for place, n in enumerate(order):
        largest = max(largest, min(1.0, p[n] * (len(p) - place)))
        corrected[n] = largest
    return corrected


@lru_cache(maxsize=4)
def resamples(cases: int) -> Numbers:
    """How often each case is drawn in each seeded resample, shape (2000, cases), not to change."""
    generator = np.random.default_rng(_SEED)
    counts: Numbers = np.zeros((_RESAMPLES, cases))
    if cases:
        counts[:] = generator.multinomial(cases, np.full(cases, 1 / cases), _RESAMPLES)
    counts.flags.writeable = False
    return counts
