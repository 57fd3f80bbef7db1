"""Which cases are worth a doctor's time: unlabelled cases ranked by one of several strategies.

* `random`     drawn among the cases in which anything was found: the honest baseline
* `diverse`    drawn, each the likelier the further it lies from those drawn before (k-means++)
* `entropy`    doubt of all networks together, in the voxels where a structure is possible
* `bald`       what of that doubt is disagreement between networks
* `mirror`     disagreement of each network with itself on the mirrored image
* `coreset`    the case furthest from all that are labelled or chosen, again and again
* `mixed`      `coreset` among the most doubtful cases, four times as many as are wanted

Distances are between embeddings, standardised over the pool.

Sources: BALD: Houlsby et al., arXiv:1112.5745, 2011. Core-set: Sener and Savarese, ICLR 2018, its
greedy k-centres. k-means++: Arthur and Vassilvitskii, SODA 2007. That random selection with a
foreground is hard to beat: Luth et al., nnActive, TMLR 2025.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel
from scipy.spatial.distance import cdist

from medseg.bundle import Bundle
from medseg.continual.drift_observation import (
    PREDICTED,
    Observation,
    ObservationLog,
    Observer,
    Unobserved,
    observe_all,
)
from medseg.errors import DriftError
from medseg.inference.engine import Device
from medseg.inference.inputs import CaseInput
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.types import FloatArray

Strategy = Literal["random", "diverse", "entropy", "bald", "mirror", "coreset", "mixed"]

DEFAULT_STRATEGY: Strategy = "diverse"
"""See docs/benchmarks.md for what was measured."""

MIXED_FACTOR = 4
"""`mixed` chooses among so many times as many doubtful cases as are wanted."""


class Chosen(BaseModel):
    """A case to label.

    Attributes:
        rank: From 1.
        case: Its name.
        score: What the strategy went by: doubt in nats, or distance to the nearest case that is
            labelled or ranked before; None where it was drawn.
        predicted_dice: What its mask is expected to have; None without a model of quality.
    """

    model_config = FROZEN

    rank: int
    case: str
    score: float | None
    predicted_dice: float | None = None


class Selection(BaseModel):
    """What to label.

    Attributes:
        strategy: How it was chosen.
        seed: What was drawn by.
        pool: How many cases there were to choose from.
        chosen: The first to label first.
        unread: Cases that could not be looked at, with the reason.
    """

    model_config = FROZEN

    strategy: Strategy
    seed: int
    pool: int
    chosen: tuple[Chosen, ...]
    unread: dict[str, str] = {}

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the chosen cases, the first to label first."""
        return tuple(one.case for one in self.chosen)


def select(
    bundle: Bundle,
    pool: Sequence[CaseInput],
    count: int,
    *,
    strategy: Strategy = DEFAULT_STRATEGY,
    labelled: Sequence[CaseInput] = (),
    seed: int = 0,
    folder: Path | None = None,
    device: Device = "auto",
    progress: Progress = SILENT,
) -> Selection:
    """Choose cases to label.

    Args:
        bundle: Whose networks look at the cases.
        pool: Unlabelled cases.
        count: How many to choose; all that can be looked at, if there are fewer.
        strategy: See the module.
        labelled: Cases that have labels already: `coreset`, `mixed` and `diverse` keep away from
            them.
        seed: What is drawn by.
        folder: Where `observations.jsonl` keeps what was seen.
        device: Where the networks run.
        progress: Told after each case.

    Raises:
        DriftError: If no case of the pool can be looked at, or the strategy needs what the bundle
            lacks.
    """
    observer = Observer(bundle, device=device)
    require_possible(strategy, observer)
    log = None if folder is None else ObservationLog(folder, bundle)
    found = list(observe_all(pool, observer, log=log, progress=progress))
    seen = [one for one in found if isinstance(one, Observation)]
    unread = {one.case: one.message for one in found if isinstance(one, Unobserved)}
    if not seen:
        raise DriftError(
            "Cases are chosen from a pool of at least one that can be looked at.",
            received=next(iter(unread.values()), "an empty pool").rstrip("."),
            cure="Give unlabelled cases of the kind that the bundle was made for.",
        )
    known: list[Observation] = []
    if strategy in ("coreset", "mixed", "diverse"):
        looked = observe_all(labelled, observer, log=log, progress=progress)
        known = [one for one in looked if isinstance(one, Observation)]
    chosen = rank(seen, count, strategy=strategy, labelled=known, seed=seed)
    return Selection(strategy=strategy, seed=seed, pool=len(pool), chosen=chosen, unread=unread)


def require_possible(strategy: Strategy, observer: Observer) -> None:
    """Pass if a bundle has what a strategy goes by.

    Raises:
        DriftError: If `bald` is asked of a single network, or `mirror` without mirrors.
    """
    examiner = observer.examiner
    if strategy == "bald" and examiner.members < 2:
        raise DriftError(
            "BALD is disagreement between networks.",
            received="a bundle of a single one",
            cure="Train several folds (--folds all), or choose --strategy mirror.",
        )
    if strategy == "mirror" and not examiner.has_mirrors:
        raise DriftError(
            "Disagreement with mirrored images needs a bundle that was trained with mirrors.",
            received="one without",
            cure="Choose --strategy entropy.",
        )


def rank(
    pool: Sequence[Observation],
    count: int,
    *,
    strategy: Strategy,
    labelled: Sequence[Observation] = (),
    seed: int = 0,
) -> tuple[Chosen, ...]:
    """Choose among cases that were looked at; see `select`.

    Where the strategy is `random` or `diverse`, cases in which nothing was found come last.
    """
    count = min(count, len(pool))
    rng = np.random.default_rng(seed)
    if strategy in _DOUBTS:
        doubt = np.array([_DOUBTS[strategy](one) for one in pool])
        most = np.argsort(-doubt, kind="stable")[:count]
        return _ranked(pool, most.tolist(), doubt[most].tolist())
    if strategy == "random":
        drawn = rng.permutation(len(pool))
        empty = np.array([not _has_foreground(pool[n]) for n in drawn])
        first = drawn[np.argsort(empty, kind="stable")][:count]
        return _ranked(pool, first.tolist(), [None] * count)
    standard, known = _standardised(pool, labelled)
    if strategy == "coreset":
        return _ranked(pool, *k_centres(standard, count, known))
    if strategy == "mixed":
        doubt = np.array([_entropy(one) for one in pool])
        doubtful = np.argsort(-doubt, kind="stable")[: MIXED_FACTOR * count]
        order, apart = k_centres(standard[doubtful], count, known)
        return _ranked(pool, [int(doubtful[n]) for n in order], apart)
    likely = np.array([_has_foreground(one) for one in pool])
    return _ranked(pool, *spread_draw(standard, count, known, likely, rng))


def k_centres(
    points: FloatArray, count: int, known: FloatArray
) -> tuple[list[int], list[float | None]]:
    """The point furthest from all known and chosen ones, again and again.

    Args:
        points: Shape (n, E).
        count: How many to choose, at most n.
        known: Shape (m, E); with none the first is the point nearest to the mean.

    Returns:
        Indices in the order of choice, and the distance of each to the nearest known or chosen one
        (None for a first point without any).
    """
    order: list[int] = []
    apart: list[float | None] = []
    nearest = cdist(points, known).min(1) if len(known) else np.full(len(points), np.inf)
    while len(order) < count:
        if np.isinf(nearest).all():
            best = int(np.linalg.norm(points - points.mean(0), axis=1).argmin())
            apart.append(None)
        else:
            best = int(nearest.argmax())
            apart.append(float(nearest[best]))
        order.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
        nearest[order] = -1.0
    return order, apart


def spread_draw(
    points: FloatArray,
    count: int,
    known: FloatArray,
    likely: FloatArray,
    rng: np.random.Generator,
) -> tuple[list[int], list[float | None]]:
    """Drawn with a probability that grows with the squared distance to known and drawn points.

    Args:
        points: Shape (n, E).
        count: How many to draw, at most n.
        known: Shape (m, E).
        likely: Boolean, shape (n,): the others are drawn once these are used up.
        rng: What is drawn by.

    Returns:
        As `k_centres`.
    """
    order: list[int] = []
    apart: list[float | None] = []
    nearest = cdist(points, known).min(1) if len(known) else np.full(len(points), np.inf)
    free = np.ones(len(points), bool)
    while len(order) < count:
        open_ = free & likely if (free & likely).any() else free
        weights = np.where(open_, np.where(np.isinf(nearest), 1.0, nearest**2), 0.0)
        if weights.sum() == 0:
            weights = open_.astype(float)
        best = int(rng.choice(len(points), p=weights / weights.sum()))
        apart.append(None if np.isinf(nearest[best]) else float(nearest[best]))
        order.append(best)
        free[best] = False
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
    return order, apart


def _entropy(one: Observation) -> float:
    return one.values["mask.entropy"]


_DOUBTS: dict[str, Callable[[Observation], float]] = {
    "entropy": _entropy,
    "bald": lambda one: one.values["mask.information"],
    "mirror": lambda one: one.values["mask.mirror_information"],
}


def _has_foreground(one: Observation) -> bool:
    return any(
        value > 0 for name, value in one.values.items() if name.startswith("mask.volume_ml.")
    )


def _standardised(
    pool: Sequence[Observation], labelled: Sequence[Observation]
) -> tuple[FloatArray, FloatArray]:
    points = np.array([one.embedding for one in pool], float)
    known = np.array([one.embedding for one in labelled], float).reshape(-1, points.shape[1])
    middle, deviation = points.mean(0), np.maximum(points.std(0), 1e-6)
    return (points - middle) / deviation, (known - middle) / deviation


def _ranked(
    pool: Sequence[Observation], order: Sequence[int], scores: Sequence[float | None]
) -> tuple[Chosen, ...]:
    return tuple(
        Chosen(
            rank=n + 1,
            case=pool[which].case,
            score=score,
            predicted_dice=pool[which].values.get(PREDICTED),
        )
        for n, (which, score) in enumerate(zip(order, scores, strict=True))
    )
