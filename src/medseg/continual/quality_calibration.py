"""Judged masks of usual cases and of worse copies: what a model of quality is fitted on.

Cases come from one of two places: labelled ones that no network has learned from, whose masks are
those of all networks together; or those of a cross-validation, each of which one network has not
learned from, whose mask is that network's alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from medseg.continual.corruptions import CORRUPTIONS, corrupted
from medseg.continual.drift_observation import mean_dice
from medseg.continual.judged_masks import JudgedMasks
from medseg.errors import DriftError
from medseg.inference.opinions import Examination, Examiner
from medseg.inference.quality_model import (
    JudgedMask,
    Judges,
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
        network: Number of the one network that has not learned from it; None where none has.
    """

    id: str
    read: Callable[[], tuple[Volume, LabelMap]]
    network: int | None = None


def calibrate_quality(
    examiner: Examiner,
    cases: Sequence[LabelledCase],
    *,
    copies: int = COPIES,
    seed: int = 0,
    kept: JudgedMasks | None = None,
    progress: Progress = SILENT,
) -> QualityModel:
    """Fit a model of quality on cases that the networks have not learned from.

    Args:
        examiner: Whose masks are foretold.
        cases: At least `FEWEST_CASES`, each used as it is and made worse; either all of them are
            for one network each, or none is.
        copies: Worse copies of each; kind and strength are drawn.
        seed: What they are drawn by.
        kept: Where masks are kept as soon as they are judged.
        progress: Told after each case.

    Raises:
        DriftError: If there are too few cases, or they are those of a cascade's cross-validation or
            of a bundle of more networks.
    """
    judges = judges_of(cases)
    if len(cases) < FEWEST_CASES:
        raise DriftError(
            f"Dice is foretold by a model of at least {FEWEST_CASES} labelled cases.",
            received=f"{len(cases)}",
            cure="Add labelled cases that the bundle has not learned from."
            if judges == "ensemble"
            else "Train with --folds all, which holds each case out once.",
        )
    if judges == "network" and examiner.bundle.configurations[0].first_stage is not None:
        raise DriftError(
            "Networks of a single stage are judged on the cases of their own cross-validation.",
            received="a cascade, whose first stage has learned from all of them",
            cure="Use labelled cases that are new to it: medseg drift baseline CASES --labels "
            "LABELS --model BUNDLE.",
        )
    if any(case.network is not None and case.network >= examiner.members for case in cases):
        raise DriftError(
            "Each case is judged by a network of the bundle.",
            received=f"a bundle of {examiner.members}, and cases that another one has not seen",
            cure="Give the run with the bundle that it left.",
        )
    kept = kept or JudgedMasks()
    masks: list[JudgedMask] = []
    with progress.task("cases and worse copies", len(cases)) as task:
        for number, case in enumerate(cases):
            look = partial(_judged, examiner, case, seed + number, copies)
            masks += kept.of(key_of(case, seed + number, copies), look)
            task.advance(case=case.id)
    return fit_quality_model(masks, weights_sha256=examiner.bundle.weights_sha256, judges=judges)


def key_of(case: LabelledCase, seed: int, copies: int = COPIES) -> str:
    """The key under which the masks of a case and its copies are kept."""
    return f"{case.id} {case.network} {copies} {seed}"


def judges_of(cases: Sequence[LabelledCase]) -> Judges:
    """Whose masks of these cases are judged."""
    return "ensemble" if all(case.network is None for case in cases) else "network"


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


def _judged(examiner: Examiner, case: LabelledCase, seed: int, copies: int) -> Iterator[JudgedMask]:
    """The mask of a case, then those of its worse copies."""
    volume, reference = case.read()
    yield _one(examiner, case, volume, reference, is_copy=False)
    for kind, strength, drawn in draws(seed, copies):
        worse, label = corrupted(volume, reference, kind, strength=strength, seed=drawn)
        assert label is not None
        yield _one(examiner, case, worse, label, is_copy=True)


def _one(
    examiner: Examiner, case: LabelledCase, volume: Volume, reference: LabelMap, *, is_copy: bool
) -> JudgedMask:
    """One mask and its Dice."""
    asked = None if case.network is None else [case.network]
    seen: Examination = examiner.together(examiner.ask(volume, asked))
    return JudgedMask(case.id, is_copy, evidence_of(seen), mean_dice(seen.label_map, reference))
