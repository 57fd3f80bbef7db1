"""Judged masks of usual cases and of worse copies: what a model of quality is fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.continual.corruptions import CORRUPTIONS, corrupted
from medseg.continual.drift_observation import mean_dice
from medseg.errors import DriftError
from medseg.inference.opinions import Examiner
from medseg.inference.quality_model import (
    JudgedMask,
    QualityModel,
    evidence_of,
    fit_quality_model,
)
from medseg.progress import SILENT, Progress
from medseg.volume.volume import LabelMap, Volume

COPIES = 4
"""Of each case, made worse in different ways; every fourth one so that masks really fail."""

FEWEST_CASES = 20

_MILD, _SEVERE = (0.1, 0.9), (0.9, 1.6)
"""Strengths. A model that has seen no failure foretells none."""


@dataclass(frozen=True)
class LabelledCase:
    """A case whose structures are known.

    Attributes:
        id: Its name.
        read: Gives image and reference.
    """

    id: str
    read: Callable[[], tuple[Volume, LabelMap]]


def calibrate_quality(
    examiner: Examiner,
    cases: Sequence[LabelledCase],
    *,
    copies: int = COPIES,
    seed: int = 0,
    progress: Progress = SILENT,
) -> QualityModel:
    """Fit a model of quality on cases that the networks have not learned from.

    Args:
        examiner: Whose masks are foretold.
        cases: At least `FEWEST_CASES`, each used as it is and made worse.
        copies: Worse copies of each; kind and strength are drawn.
        seed: What they are drawn by.
        progress: Told after each case.

    Raises:
        DriftError: If there are too few cases.
    """
    if len(cases) < FEWEST_CASES:
        raise DriftError(
            f"Dice is foretold by a model of at least {FEWEST_CASES} labelled cases.",
            received=f"{len(cases)}",
            cure="Add labelled cases that the bundle has not learned from.",
        )
    masks = []
    with progress.task("cases and worse copies", len(cases)) as task:
        for number, case in enumerate(cases):
            volume, reference = case.read()
            masks.append(judged(examiner, case.id, volume, reference))
            for kind, strength, one in draws(seed + number, copies):
                worse, label = corrupted(volume, reference, kind, strength=strength, seed=one)
                assert label is not None
                masks.append(judged(examiner, case.id, worse, label, is_copy=True))
            task.advance(case=case.id)
    return fit_quality_model(masks, weights_sha256=examiner.bundle.weights_sha256)


def draws(seed: int, copies: int) -> list[tuple[str, float, int]]:
    """Kinds, strengths and seeds of worse copies; each kind once before one comes again.

    Of four in turn three are mild and the last is severe.
    """
    rng = np.random.default_rng(seed)
    kinds = [str(kind) for kind in rng.permutation(list(CORRUPTIONS))]
    return [
        (
            kinds[n % len(kinds)],
            float(rng.uniform(*(_SEVERE if n % 4 == 3 else _MILD))),
            int(rng.integers(1 << 31)),
        )
        for n in range(copies)
    ]


def judged(
    examiner: Examiner, case: str, volume: Volume, reference: LabelMap, *, is_copy: bool = False
) -> JudgedMask:
    """One mask and its Dice."""
    seen = examiner.examine(volume)
    return JudgedMask(case, is_copy, evidence_of(seen), mean_dice(seen.label_map, reference))
