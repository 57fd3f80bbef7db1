"""Which model is first, and how firmly: ranks over resampled cases."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.errors import EvaluationError
from medseg.metrics.paired import resamples
from medseg.report.scores.summary import column_means

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """The order of models by their mean score, and how it holds when the cases are drawn again.

    All tuples have the order of `names`. Rank 1 is best; models of equal means share the mean of
    their ranks.

    Attributes:
        names: Names of the models.
        means: Mean score of each.
        ranks: Rank of each on all cases.
        low: Lower end of each rank's 95 % percentile interval over bootstrap resamples of cases.
        high: Its upper end.
        shares: For each model the share of resamples in which it takes rank 1, 2 and so on; of
            equal models all take the best of their ranks.
        kendall_tau: Mean of Kendall's tau-b between the ranking on all cases and those on the
            resamples: 1 if the order never changes, about 0 if it is a matter of chance.
        kendall_tau_low: Its 2.5th percentile.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    ranks: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]
    kendall_tau: float
    kendall_tau_low: float

    @property
    def order(self) -> tuple[str, ...]:
        """Names from the best to the worst."""
        return tuple(name for _, name in sorted(zip(self.ranks, self.names, strict=True)))

    @property
    def first(self) -> tuple[str, ...]:
        """The models of the best mean: one, unless several are equal."""
        best = min(self.ranks)
        return tuple(n for n, rank in zip(self.names, self.ranks, strict=True) if rank == best)


def rank(scores: Mapping[str, Numbers], *, higher_is_better: bool) -> Ranking:
    """Rank models by the mean over structures of the means over cases.

    The same resamples of cases are drawn for all models, since their scores are paired.

    Args:
        scores: For each model an array of shape (cases, structures), in the same order for all;
            NaN where there is no score.
        higher_is_better: Whether rank 1 goes to the largest mean.

    Raises:
        EvaluationError: If there are fewer than two models, or their arrays differ in shape.

    Source:
        Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing challenge
        results, Scientific Reports 11, 2021 (ranking by aggregates, bootstrap of the cases).
    """
    shapes = {numbers.shape for numbers in scores.values()}
    if len(scores) < 2 or len(shapes) != 1:
        raise EvaluationError(
            "A ranking takes two or more models, scored on the same cases and structures.",
            received=f"{len(scores)} models, arrays of {sorted(shapes)}",
        )
    sign = -1.0 if higher_is_better else 1.0
    weights = resamples(next(iter(shapes))[0])
    means = np.stack([column_means(numbers, None) for numbers in scores.values()], axis=1)
    drawn = np.stack([column_means(numbers, weights) for numbers in scores.values()], axis=1)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    ranks, again = _ranks(sign * means)[0], _ranks(sign * drawn)
    low, high = np.percentile(again, (2.5, 97.5), axis=0)
    taken = 1 + (drawn[:, :, np.newaxis] * sign > drawn[:, np.newaxis, :] * sign).sum(axis=2)
    shares = np.stack([(taken == place + 1).mean(axis=0) for place in range(len(scores))], axis=1)
    tau = _kendall(ranks, again)
    return Ranking(
        names=tuple(scores),
        means=tuple(means[0].tolist()),
        ranks=tuple(ranks.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        shares=tuple(tuple(row) for row in shares.tolist()),
        kendall_tau=float(tau.mean()),
        kendall_tau_low=float(np.percentile(tau, 2.5)),
    )


def _ranks(costs: Numbers) -> Numbers:
    """Ranks in each row, the smallest first and equal ones sharing their mean, (rows, models)."""
    smaller = (costs[:, :, np.newaxis] > costs[:, np.newaxis, :]).sum(axis=2)
    equal = (costs[:, :, np.newaxis] == costs[:, np.newaxis, :]).sum(axis=2)
    return np.asarray(1.0 + smaller + (equal - 1) / 2.0)


def _kendall(ranks: Numbers, again: Numbers) -> Numbers:
    """Kendall's tau-b of `ranks` (models,) with each row of `again` (rows, models).

    0 where one of the two holds all models equal.
    """
    first, second = np.triu_indices(len(ranks), 1)
    here = np.sign(ranks[first] - ranks[second])
    there = np.sign(again[:, first] - again[:, second])
    size = np.sqrt(np.abs(here).sum() * np.abs(there).sum(axis=1))
    return np.asarray((there @ here) / np.where(size > 0, size, 1.0))
