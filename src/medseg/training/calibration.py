"""The temperature at which probabilities mean what they say, fitted on held-out cases.

Networks are surer than they are right. One number repairs most of that: logits are divided by it,
or, which is the same, probabilities are raised to its inverse and made to sum to one again. Which
class wins does not change.

It is fitted by the mean negative log-likelihood of a sample of voxels near the structures, as many
of each case; far away all is sure background, and would hide everything. Whether it helps is told
by voxels that it was not fitted on: each fold is judged at the temperature of the others.

Source:
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel
from scipy import ndimage, optimize

from medseg.metrics.calibration import calibration
from medseg.space.votes import TopClasses, heaviest
from medseg.specs import FROZEN
from medseg.training.judged import Doubts
from medseg.types import FloatArray, IntArray, Mask

MOST_VOXELS, MOST_ALTOGETHER = 1000, 50_000
"""Sampled voxels of a case, and of all cases together."""

MARGIN = 3
"""Voxels around reference and prediction that a sample is drawn from."""

COLDEST, HOTTEST = 0.25, 8.0
"""Between these temperatures the best one is looked for."""

_FLOOR = 1e-6
"""Probability of a class that is not among the heaviest ones."""


class Calibrated(BaseModel):
    """What a temperature does.

    Attributes:
        temperature: What the bundle uses: 1 leaves probabilities as they are.
        fitted: The best one on all sampled voxels.
        voxels: Sampled voxels.
        ece_before: Expected calibration error of the winning class, of the sampled voxels.
        ece_after: The same, each group of cases at the temperature that fits the others.
        nll_before: Mean negative log-likelihood of the true class.
        nll_after: The same, each group of cases at the temperature that fits the others.
    """

    model_config = FROZEN

    temperature: float
    fitted: float
    voxels: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float


def sample_doubts(top: TopClasses, classes: IntArray, case_id: str) -> Doubts:
    """Draw voxels near the structures; the same ones each time.

    Args:
        top: Probabilities on the network's grid.
        classes: The true classes on the same grid, shape (I, J, K).
        case_id: What the draw begins from.
    """
    found = heaviest(top)
    near = np.flatnonzero(_around((classes > 0) | (found > 0)))
    seed = int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8])
    if len(near) > MOST_VOXELS:
        near = near[np.random.default_rng(seed).integers(len(near), size=MOST_VOXELS)]
    i, j, k = np.unravel_index(near, classes.shape)
    weights = np.ascontiguousarray(top.weights[:, i, j, k].T)
    is_true = (top.classes[:, i, j, k] == classes[i, j, k]).T & (weights > 0)
    truth = np.where(is_true.any(axis=1), is_true.argmax(axis=1), -1)
    return Doubts(weights, truth.astype(np.int8))


def calibrate(doubts: Mapping[int, Sequence[Doubts]]) -> Calibrated | None:
    """The temperature of a configuration.

    Args:
        doubts: Sampled voxels of held-out cases, by fold. Of a single fold, the cases are shared
            out into two groups.

    Returns:
        None where there are fewer than two cases, or no voxels.
    """
    folds = [list(cases) for cases in doubts.values() if cases]
    if len(folds) == 1:
        folds = [folds[0][::2], folds[0][1::2]]
    groups = [_joined(cases) for cases in folds if sum(len(one.truth) for one in cases)]
    if len(groups) < 2:
        return None
    share = max(1, -(-sum(len(one.truth) for one in groups) // MOST_ALTOGETHER))
    groups = [Doubts(one.probabilities[::share], one.truth[::share]) for one in groups]
    everything = _joined(groups)
    fitted = best_temperature(everything)
    tempered = [
        at_temperature(
            group.probabilities, best_temperature(_joined([o for o in groups if o is not group]))
        )
        for group in groups
    ]
    after = Doubts(np.concatenate(tempered), everything.truth)
    before = Doubts(at_temperature(everything.probabilities, 1.0), everything.truth)
    nll = [float(np.mean(_surprise(one))) for one in (before, after)]
    return Calibrated(
        temperature=fitted if nll[1] < nll[0] else 1.0,
        fitted=fitted,
        voxels=len(everything.truth),
        ece_before=_error(before),
        ece_after=_error(after),
        nll_before=nll[0],
        nll_after=nll[1],
    )


def best_temperature(doubts: Doubts) -> float:
    """The temperature of the smallest mean negative log-likelihood."""

    def mean_surprise(log_temperature: float) -> float:
        tempered = at_temperature(doubts.probabilities, float(np.exp(log_temperature)))
        return float(np.mean(_surprise(Doubts(tempered, doubts.truth))))

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = optimize.minimize_scalar(mean_surprise, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)


def at_temperature(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Probabilities raised to 1 / temperature, of sum 1.

    Args:
        probabilities: Shape (voxels, S).
        temperature: Above 1 makes them less sure.
    """
    raised = np.asarray(probabilities, np.float64) ** (1 / temperature)
    return np.asarray(raised / np.maximum(raised.sum(axis=1, keepdims=True), _FLOOR))


def _surprise(doubts: Doubts) -> FloatArray:
    """Negative log-likelihood of the true class of each voxel."""
    rows = np.arange(len(doubts.truth))
    true = np.where(doubts.truth >= 0, doubts.probabilities[rows, doubts.truth], 0.0)
    return np.asarray(-np.log(np.maximum(true, _FLOOR)))


def _error(doubts: Doubts) -> float:
    """Expected calibration error of the winning class."""
    won = doubts.probabilities.argmax(axis=1)
    sure = doubts.probabilities[np.arange(len(won)), won].clip(0.0, 1.0)
    return calibration(sure[:, np.newaxis], (won == doubts.truth)[:, np.newaxis]).ece


def _joined(doubts: Sequence[Doubts]) -> Doubts:
    """All voxels, with as many slots as the widest sample has."""
    slots = max(one.probabilities.shape[1] for one in doubts)
    wide = [
        np.pad(one.probabilities, ((0, 0), (0, slots - one.probabilities.shape[1])))
        for one in doubts
    ]
    return Doubts(np.concatenate(wide), np.concatenate([one.truth for one in doubts]))


def _around(mask: Mask) -> Mask:
    """Voxels within `MARGIN` of the mask along each axis."""
    wide = mask.astype(np.uint8)
    for axis in range(mask.ndim):
        wide = ndimage.maximum_filter1d(wide, 2 * MARGIN + 1, axis=axis, mode="constant")
    return wide > 0
