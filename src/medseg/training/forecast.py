"""What the Dice will be at the end, told while training goes on, with the error of telling.

A few held-out cases are looked at after each twentieth of the training. Their Dice saturates: a
curve c - a exp(-s / t) over the share s of the training is fitted, late looks counting most, and
taken to s = 1. Two things are uncertain. The curve: looks wander about any curve, and the further
the end, the further they may wander; their spread between looks is taken to grow with the root of
the looks to come. And the cases: the final Dice is that of all held-out cases, of which the few
that are looked at are a sample; their spread counts by Student's t.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

LEAST_LOOKS = 4
"""Looks before anything is forecast."""

CONFIDENCE = 0.9
"""How often the final Dice shall lie within the error."""

_TIMES = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6)
"""Time constants that are tried, as shares of the training."""

_MEMORY_SHARE = 0.3
"""A look counts 1/e as much when it lies this share of the training back."""

_MOST_GAIN = 0.5
"""Largest share of what is missing to 1 that is foretold to be gained."""

PATIENCE = 6
"""Looks without a gain, after which a training that may stop early does: at one look for each
twentieth of the training, three tenths of it."""

_LEAST_WANDER = 0.002
"""Least change of Dice between two looks that is believed, where all looks agree."""


class Sight(NamedTuple):
    """One look at held-out cases.

    Attributes:
        share: Share of the training that was done.
        dice: Mean Dice of the cases.
        spread: Standard deviation of Dice between the cases; 0 where there was one.
        cases: How many there were.
    """

    share: float
    dice: float
    spread: float
    cases: int

    @classmethod
    def of(cls, share: float, dice: Sequence[float]) -> "Sight":
        """From the Dice of each case; 0 if there was none."""
        spread = float(np.std(dice, ddof=1)) if len(dice) > 1 else 0.0
        return cls(share, float(np.mean(dice)) if dice else 0.0, spread, len(dice))


class Forecast(NamedTuple):
    """The expected Dice at the end.

    Attributes:
        dice: Of all held-out cases.
        error: Half the width of the interval that holds it in `CONFIDENCE` of all trainings.
    """

    dice: float
    error: float

    def __str__(self) -> str:
        return f"{self.dice:.3f} ± {self.error:.3f}"


def forecast(sights: Sequence[Sight], *, held_out: int) -> Forecast | None:
    """Foretell the final Dice; None before `LEAST_LOOKS` looks.

    Args:
        sights: All looks so far, in order.
        held_out: Cases that the final Dice is measured on, those of the looks among them.
    """
    if len(sights) < LEAST_LOOKS:
        return None
    shares = np.array([sight.share for sight in sights])
    dice = np.array([sight.dice for sight in sights])
    end, wander = _extrapolated(shares, dice)
    per_look = float(np.mean(np.diff(shares)))
    to_come = max(0.0, 1.0 - shares[-1]) / max(per_look, 1e-9)
    curve = (
        float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(sights) - 2)) * wander * math.sqrt(1 + to_come)
    )
    error = math.hypot(curve, _sampling_error(sights[-1].spread, sights[-1].cases, held_out))
    return Forecast(min(max(end, 0.0), 1.0), min(error, 1.0))


def has_settled(sights: Sequence[Sight]) -> bool:
    """Whether the last `PATIENCE` looks found nothing better than the looks before them."""
    if len(sights) <= PATIENCE:
        return False
    before = max(sight.dice for sight in sights[:-PATIENCE])
    return max(sight.dice for sight in sights[-PATIENCE:]) <= before


def _extrapolated(
    shares: npt.NDArray[np.float64], dice: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """The best curve's value at the end, and how far looks wander between each other about it."""
    weights = np.exp((shares - shares[-1]) / _MEMORY_SHARE)
    best, curve = math.inf, np.full_like(dice, dice.mean())
    end = float(dice[-1])
    for time in _TIMES:
        fall = np.exp(-shares / time)
        gain, top = _line(fall, dice, weights)
        found = top - gain * fall
        misfit = float((weights * (dice - found) ** 2).sum())
        if misfit < best:
            best, curve, end = misfit, found, top - gain * math.exp(-1.0 / time)
    end = min(end, dice[-1] + _MOST_GAIN * (1.0 - dice[-1]))
    residual = dice - curve
    steps = np.diff(residual)
    wander = math.sqrt(float((weights[1:] * steps**2).sum() / weights[1:].sum()))
    return end, max(wander, _LEAST_WANDER)


def _line(
    fall: npt.NDArray[np.float64], dice: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Least squares of dice = top - gain * fall with a gain that is not negative."""
    share = weights / weights.sum()
    middle, level = float(share @ fall), float(share @ dice)
    variance = float(share @ (fall - middle) ** 2)
    covariance = float(share @ ((fall - middle) * (dice - level)))
    gain = max(0.0, -covariance / variance) if variance > 0 else 0.0
    return gain, level + gain * middle


def _sampling_error(spread: float, looked_at: int, held_out: int) -> float:
    """How far the mean of all held-out cases may lie from that of the few that are looked at."""
    if looked_at < 2 or held_out <= looked_at:
        return 0.0
    left_out = 1.0 - looked_at / held_out
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, looked_at - 1))
    return quantile * spread * math.sqrt(left_out / looked_at)
