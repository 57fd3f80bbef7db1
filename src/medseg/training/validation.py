"""Dice on cases that a network has not seen: on their own grid at the end, quickly in between."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed, preprocess
from medseg.dataset.store import Store, StoredCase
from medseg.inference.predict import Predictor
from medseg.inference.window import positions
from medseg.metrics.overlap import Overlap
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.training.schedule import Clock
from medseg.types import IntArray

_MARGIN, _MARGIN_SECONDS = 1.15, 0.3
"""Time that is kept for validation: so many times its estimate, and so many seconds more."""


class CaseDice(BaseModel):
    """What a validation case scored.

    Attributes:
        case: The case.
        fold: The fold that did not train on it.
        dice: Dice by label name; None where the structure is neither there nor predicted.
    """

    model_config = FROZEN

    case: str
    fold: int
    dice: dict[str, float | None]


def validate(
    predictor: Predictor,
    description: DatasetDescription,
    ids: Sequence[str],
    *,
    fold: int,
    clock: Clock,
    until: float | None,
    progress: Progress = SILENT,
) -> tuple[CaseDice, ...]:
    """Predict cases from their files, as a user would, and score them on their own grid.

    Args:
        predictor: What to judge.
        description: The data set.
        ids: The cases, in the order they are taken.
        fold: The fold, for the record.
        clock: Seconds of the command.
        until: When to be done; cases that would take longer are left out, but for the first.
        progress: Told of each case.
    """
    scores: list[CaseDice] = []
    begin = clock()
    with progress.task("validate", len(ids)) as task:
        for case_id in ids:
            each = (clock() - begin) / len(scores) if scores else 0.0
            if until is not None and scores and clock() + each > until:
                break
            scores.append(_score(predictor, description, case_id, fold))
            task.advance()
    return tuple(scores)


def mean_dice(scores: Iterable[CaseDice]) -> dict[str, float | None]:
    """Mean of each label over the cases where it is defined, and "mean" over the labels."""
    by_label: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.dice.items():
            by_label.setdefault(name, []).extend([] if value is None else [value])
    means = {name: float(np.mean(found)) if found else None for name, found in by_label.items()}
    defined = [value for value in means.values() if value is not None]
    return {**means, "mean": float(np.mean(defined)) if defined else None}


def quick_dice(predictor: Predictor, cases: Sequence[StoredCase]) -> float:
    """Mean Dice of stored cases on the network's grid; 0 if no structure is there."""
    found: list[float] = []
    for case in cases:
        labels = case.labels()
        ready = Preprocessed(case.image(), labels, case.geometry, case.original)
        classes = predictor.predict_preprocessed(ready)
        if labels is not None:
            counts = _overlaps(classes, labels, range(1, predictor.bundle.plan.network.classes))
            found += [o.dice for o in counts if o.status != "both_empty"]
    return float(np.mean(found)) if found else 0.0


class ValidationCost:
    """What validation takes on a machine with nothing else to do.

    It follows from one window and one case that are timed.

    Args:
        predictor: A bundle with the planned network; its weights do not matter.
        description: The data set.
        store: Preprocessed cases, for their sizes.
        ids: Cases that may be validated, at least one.
        timer: What seconds are taken from: `time.thread_time`, or wall time for a GPU.
    """

    def __init__(
        self,
        predictor: Predictor,
        description: DatasetDescription,
        store: Store,
        ids: Sequence[str],
        timer: Clock,
    ) -> None:
        plan = predictor.bundle.plan
        self._windows = {name: _windows(store.case(name), plan) for name in ids}
        self.window_seconds = _time_window(predictor, plan, timer)
        sizes = {name: prod(store.case(name).original.grid_size) for name in ids}
        middle = sorted(ids, key=lambda name: sizes[name])[len(ids) // 2]
        _score(predictor, description, middle, 0)  # compiles what validation needs, before the end
        per_voxel = _time_reading(description, middle, plan, timer) / sizes[middle]
        self._case_seconds = {name: per_voxel * sizes[name] for name in ids}

    def quick(self, ids: Iterable[str]) -> float:
        """Seconds to predict stored cases."""
        return self.window_seconds * sum(self._windows[name] for name in ids)

    def whole(self, ids: Sequence[str]) -> float:
        """Seconds to read, predict and score cases, with a margin."""
        estimate = self.quick(ids) + sum(self._case_seconds[name] for name in ids)
        return _MARGIN * estimate + _MARGIN_SECONDS


def volume_ranges_ml(
    store: Store, ids: Iterable[str], plan: Plan
) -> dict[str, tuple[float, float]]:
    """For each label, the volumes between which 98 % of the training cases lie."""
    volumes = np.array(
        [
            np.array(store.case(name).class_voxels[1:]) * store.case(name).geometry.voxel_volume_ml
            for name in ids
        ]
    )
    low, high = np.quantile(volumes, (0.01, 0.99), axis=0)
    return {label.name: (float(low[n]), float(high[n])) for n, label in enumerate(plan.labels)}


def _score(
    predictor: Predictor, description: DatasetDescription, case_id: str, fold: int
) -> CaseDice:
    case = description.case(case_id)
    predicted = predictor.predict(read_case(description, case)).label_map
    reference = read_case_label(description, case)
    values = [label.value for label in description.labels]
    overlaps = _overlaps(predicted.array, reference.array, values)
    dice = {
        label.name: None if overlap.status == "both_empty" else overlap.dice
        for label, overlap in zip(description.labels, overlaps, strict=True)
    }
    return CaseDice(case=case_id, fold=fold, dice=dice)


def _overlaps(predicted: IntArray, reference: IntArray, values: Iterable[int]) -> list[Overlap]:
    """Overlap of each value, all in one pass over the voxels."""
    values = list(values)
    flat, truth = predicted.ravel(), reference.ravel()
    counts: list[npt.NDArray[Any]] = [
        np.bincount(part, minlength=max(values) + 1) for part in (flat, truth, flat[flat == truth])
    ]
    return [Overlap(*(int(count[value]) for count in counts)) for value in values]


def _windows(case: StoredCase, plan: Plan) -> int:
    axes = zip(case.grid_size, plan.window.patch_size, strict=True)
    return prod(len(positions(max(n, p), p, plan.window.overlap)) for n, p in axes)


def _time_reading(description: DatasetDescription, case_id: str, plan: Plan, timer: Clock) -> float:
    """Seconds to read and preprocess a case: the second time, when all kernels are loaded."""
    case, seconds = description.case(case_id), 0.0
    for _ in range(2):
        begin = timer()
        preprocess(read_case(description, case), None, plan)
        seconds = timer() - begin
    return seconds


def _time_window(predictor: Predictor, plan: Plan, timer: Clock) -> float:
    """Seconds of one window: the shorter of two, after one that warms up."""
    grid: Mapping[bool, tuple[int, ...]] = {
        True: plan.window.patch_size[:2],
        False: plan.window.patch_size,
    }
    patch = np.zeros((1, plan.network.in_channels, *grid[plan.network.dims == 2]), np.float32)
    seconds = []
    for _ in range(3):
        begin = timer()
        for _part in predictor.ensemble.parts(patch):
            pass
        seconds.append(timer() - begin)
    return min(seconds[1:])
