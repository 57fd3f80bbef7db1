"""Post-processing that is kept only where it helped on cases that the networks had not seen.

Each step is tried on each held-out mask by itself. It is kept if its gain in Dice is above zero
beyond chance: Wilcoxon's signed-rank test, corrected by Holm for all steps that were tried, and a
bootstrap interval that leaves out zero. nnU-Net keeps the largest component wherever a mean rises;
a mean of a few cases rises by chance, and the step then costs second lesions in all others.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel
from scipy import ndimage

from medseg.inference.postprocess import flat_axis, remaining
from medseg.metrics.overlap import Overlap
from medseg.metrics.paired import gain_of, holm
from medseg.specs import FROZEN
from medseg.specs.postprocess import (
    FilledHolesSpec,
    LargestComponentSpec,
    MinimumVolumeSpec,
    PostprocessSpec,
)
from medseg.training.judged import Judgement, Trial
from medseg.types import Mask
from medseg.volume.labels import Labels
from medseg.volume.volume import LabelMap

FEWEST_CASES = 10
"""Held-out cases below which nothing is kept: no test tells chance apart from so few."""

VOLUME_SHARES = (0.02, 0.1, 0.3)
"""Minimum volumes that are tried, as shares of the smallest volume that is usual in training."""


class Tried(BaseModel):
    """How a step did on all held-out cases.

    Attributes:
        step: What was done.
        sentence: The same for people.
        n: Cases.
        changed: Cases in which it changed the Dice.
        gain: Mean change of the structure's Dice; None without cases.
        ci_low: Lower end of its 95 % bootstrap interval.
        ci_high: Upper end.
        p_holm: Of Wilcoxon's test, corrected for all steps that were tried.
        kept: Whether the bundle does it.
        why: In words.
    """

    model_config = FROZEN

    step: PostprocessSpec
    sentence: str
    n: int
    changed: int
    gain: float | None
    ci_low: float | None
    ci_high: float | None
    p_holm: float
    kept: bool
    why: str


def steps_to_try(
    labels: Labels, volume_ranges_ml: Mapping[str, tuple[float, float]], *, instances: bool
) -> tuple[PostprocessSpec, ...]:
    """All steps that are worth trying.

    Args:
        labels: The structures.
        volume_ranges_ml: For each, the volumes between which training cases lie.
        instances: Whether a label holds many objects: then none of them is the only right one.
    """
    steps: list[PostprocessSpec] = []
    for label in labels:
        if not instances:
            steps.append(LargestComponentSpec(structure=label.name))
            smallest = volume_ranges_ml.get(label.name, (0.0, 0.0))[0]
            steps += [
                MinimumVolumeSpec(structure=label.name, volume_ml=share * smallest)
                for share in VOLUME_SHARES
                if smallest > 0
            ]
        steps.append(FilledHolesSpec(structure=label.name))
    return tuple(steps)


class _Reference(NamedTuple):
    """Where a structure really is, seen in the box that holds all that was predicted of it.

    Attributes:
        inside: Its voxels in the box.
        voxels: All of its voxels.
        judged: Voxels of the box that count; None for all.
    """

    inside: Mask
    voxels: int
    judged: Mask | None

    def dice(self, predicted: Mask) -> float:
        """Dice of a mask of the box."""
        counted = predicted if self.judged is None else predicted & self.judged
        both = int(np.count_nonzero(predicted & self.inside))
        return Overlap(int(np.count_nonzero(counted)), self.voxels, both).dice


def trials(
    mask: LabelMap, reference: LabelMap, steps: Iterable[PostprocessSpec], ignored: int | None
) -> tuple[Trial, ...]:
    """Try each step on one mask.

    Args:
        mask: What was predicted; its labels are those of the steps.
        reference: What is there, on the same grid.
        steps: What to try.
        ignored: Value of reference voxels that do not count.
    """
    values = {label.name: label.value for label in mask.labels}
    predicted, truth = mask.array, reference.array
    there = np.bincount(truth.ravel(), minlength=max(values.values(), default=0) + 1)
    boxes = ndimage.find_objects(predicted, max(values.values(), default=0))
    flat, voxel_ml = flat_axis(predicted.shape), mask.geometry.voxel_volume_ml
    found = []
    for name, own in groupby(steps, key=lambda step: step.structure):
        value = values[name]
        box = boxes[value - 1] or (slice(0, 0),) * 3
        inside, free = predicted[box] == value, predicted[box] == 0
        judged = None if ignored is None else truth[box] != ignored
        real = _Reference(truth[box] == value, int(there[value]), judged)
        before = real.dice(inside)
        for step in own:
            after = inside
            if inside.size:
                after = remaining(inside, free, step, voxel_ml=voxel_ml, flat_axis=flat)
            found.append(Trial(step=step, before=before, after=real.dice(after)))
    return tuple(found)


def choose_steps(
    judgements: Sequence[Judgement],
) -> tuple[tuple[PostprocessSpec, ...], tuple[Tried, ...]]:
    """The steps to keep, in their order, and how each one did.

    Of the steps that take parts of one structure away, the one of largest gain is kept. Parts go
    before holes are filled.

    Args:
        judgements: Of held-out cases that tried the same steps.
    """
    steps = [trial.step for trial in judgements[0].trials] if judgements else []
    changes = np.array(
        [[trial.after - trial.before for trial in one.trials] for one in judgements]
    ).reshape(len(judgements), len(steps))
    gains = [gain_of(changes[:, n]) for n in range(len(steps))]
    corrected = holm([gain.p for gain in gains])
    helped = {
        n: gain.mean
        for n, (gain, p) in enumerate(zip(gains, corrected, strict=True))
        if gain.is_better(p) and gain.n >= FEWEST_CASES
    }
    kept = _strongest(steps, helped)
    tried = tuple(
        Tried(
            step=step,
            sentence=step.sentence,
            n=gains[n].n,
            changed=int(np.count_nonzero(changes[:, n])),
            gain=gains[n].mean if gains[n].n else None,
            ci_low=gains[n].ci_low,
            ci_high=gains[n].ci_high,
            p_holm=corrected[n],
            kept=n in kept,
            why=_why(n, kept, helped, gains[n].n),
        )
        for n, step in enumerate(steps)
    )
    in_order = sorted(kept, key=lambda n: isinstance(steps[n], FilledHolesSpec))
    return tuple(steps[n] for n in in_order), tried


def _strongest(steps: Sequence[PostprocessSpec], helped: Mapping[int, float]) -> set[int]:
    """Of each structure and direction (parts go, holes are filled), the step that helped most."""
    best: dict[tuple[str, bool], int] = {}
    for n, gain in helped.items():
        which = (steps[n].structure, isinstance(steps[n], FilledHolesSpec))
        if which not in best or gain > helped[best[which]]:
            best[which] = n
    return set(best.values())


def _why(n: int, kept: set[int], helped: Mapping[int, float], cases: int) -> str:
    if n in kept:
        return "It helped beyond chance."
    if n in helped:
        return "It helped, and another step of this structure helped more."
    if cases < FEWEST_CASES:
        return f"{cases} held-out cases are too few to tell."
    return "It did not help beyond chance."
