"""Which configuration becomes the bundle, or which two of them: told by held-out cases.

The candidates are compared on the same cases. The configuration of the highest mean Dice is taken;
two configurations together only if they beat it beyond chance (Wilcoxon's signed-rank test,
corrected by Holm for all pairs, and a bootstrap interval above zero), since they cost twice its
time in every prediction.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from pydantic import BaseModel

from medseg.metrics.paired import gain_of, holm
from medseg.specs import FROZEN
from medseg.training.judge import Candidates
from medseg.training.judged import Judgement

TOGETHER = "+"
"""Between the names of two configurations."""


class Rated(BaseModel):
    """How a candidate did on all held-out cases.

    Attributes:
        name: Of the configuration, or of two joined by "+".
        configurations: What it is made of.
        dice: Mean over the cases of each case's mean over the structures, where a structure that
            is rightly not found counts 1.
        ci_low: Lower end of the 95 % bootstrap interval over cases; None below two cases.
        ci_high: Upper end.
        n: Cases.
        gain: For an ensemble: mean gain over the best single configuration.
        gain_ci_low: Lower end of its 95 % bootstrap interval.
        gain_ci_high: Upper end.
        p_holm: Of Wilcoxon's test of that gain, corrected for all ensembles.
        chosen: Whether it became the bundle.
    """

    model_config = FROZEN

    name: str
    configurations: tuple[str, ...]
    dice: float
    ci_low: float | None
    ci_high: float | None
    n: int
    gain: float | None = None
    gain_ci_low: float | None = None
    gain_ci_high: float | None = None
    p_holm: float | None = None
    chosen: bool = False


class Choice(BaseModel):
    """The winner and why.

    Attributes:
        winner: Name of the candidate.
        why: One sentence.
        candidates: All of them, the winner first, then by their Dice.
    """

    model_config = FROZEN

    winner: str
    why: str
    candidates: tuple[Rated, ...]


def candidates_of(configs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each configuration by itself, and each two of them."""
    alone: dict[str, tuple[str, ...]] = {name: (name,) for name in configs}
    return alone | {TOGETHER.join(two): two for two in combinations(configs, 2)}


def choose(judgements: Mapping[str, Sequence[Judgement]], candidates: Candidates) -> Choice:
    """Decide by the cases that all candidates were judged on.

    Args:
        judgements: What each candidate scored.
        candidates: What each is made of, configurations before ensembles.
    """
    by_case = {name: {one.case: one.mean for one in judgements[name]} for name in candidates}
    cases = sorted(set.intersection(*(set(found) for found in by_case.values())))
    means = {name: np.array([found[case] for case in cases]) for name, found in by_case.items()}
    rated = {name: _rated(name, candidates[name], means[name]) for name in candidates}
    singles = [name for name, parts in candidates.items() if len(parts) == 1]
    best = max(singles, key=lambda name: rated[name].dice)
    ensembles = [name for name in candidates if name not in singles]
    gains = {name: gain_of(means[name] - means[best]) for name in ensembles}
    corrected = dict(zip(ensembles, holm([gains[name].p for name in ensembles]), strict=True))
    for name, gain in gains.items():
        update = {
            "gain": gain.mean, "gain_ci_low": gain.ci_low, "gain_ci_high": gain.ci_high,
            "p_holm": corrected[name],
        }  # fmt: skip
        rated[name] = rated[name].model_copy(update=update)
    better = [name for name in ensembles if gains[name].is_better(corrected[name])]
    winner = max(better, key=lambda name: gains[name].mean) if better else best
    rated[winner] = rated[winner].model_copy(update={"chosen": True})
    order = sorted(rated.values(), key=lambda one: (not one.chosen, -one.dice))
    return Choice(winner=winner, why=_why(winner, best, rated, singles), candidates=tuple(order))


def _rated(
    name: str, parts: tuple[str, ...], means: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Rated:
    found = gain_of(means)
    return Rated(
        name=name,
        configurations=parts,
        dice=found.mean,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        n=found.n,
    )


def _why(winner: str, best: str, rated: Mapping[str, Rated], singles: Sequence[str]) -> str:
    one = rated[winner]
    if winner != best:
        return (
            f"{winner} has a Dice {one.gain:+.4f} above {best} alone "
            f"({one.gain_ci_low:+.4f} to {one.gain_ci_high:+.4f}, p = {one.p_holm:.3g}, "
            f"{one.n} cases), which is beyond chance."
        )
    if len(singles) == 1:
        return f"{winner} is the only configuration."
    return (
        f"{winner} has the highest mean Dice of a single configuration ({one.dice:.4f} on {one.n} "
        "cases), and no two together beat it beyond chance."
    )
