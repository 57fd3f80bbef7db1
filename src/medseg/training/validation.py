"""Dice on cases that a network has not seen: on their own grid at the end, quickly in between."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed
from medseg.dataset.store import Store, StoredCase
from medseg.inference.predict import Predictor
from medseg.inference.window import positions
from medseg.metrics.overlap import Overlap
from medseg.specs.postprocess import PostprocessSpec
from medseg.training.afterwards import trials
from medseg.training.judged import Judgement
from medseg.training.schedule import Clock
from medseg.types import IntArray
from medseg.volume.geometry import Geometry

_MARGIN, _MARGIN_SECONDS = 1.15, 0.3
"""Time that is kept for validation: so many times its estimate, and so many seconds more."""


def mean_dice(scores: Iterable[Judgement]) -> dict[str, float | None]:
    """Mean of each label over the cases where it is defined, and "mean" over the labels."""
    by_label: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.dice.items():
            by_label.setdefault(name, []).extend([] if value is None else [value])
    means = {name: float(np.mean(found)) if found else None for name, found in by_label.items()}
    defined = [value for value in means.values() if value is not None]
    return {**means, "mean": float(np.mean(defined)) if defined else None}


def quick_dice(predictor: Predictor, cases: Sequence[StoredCase]) -> tuple[float, ...]:
    """Mean Dice of each stored case on the network's grid; cases without a structure are left out.

    Returns:
        A figure for each case that has a structure, or was given one.
    """
    means: list[float] = []
    for case in cases:
        labels = case.labels()
        plan = predictor.bundle.plan
        mask = case.mask() if plan.mask_channels else None
        ready = Preprocessed(case.image(), labels, case.geometry, case.original, mask)
        classes = predictor.predict_preprocessed(ready)
        if labels is not None:
            wanted = plan.region_classes or [(n + 1,) for n in range(len(plan.labels))]
            counts = overlaps(classes, labels, wanted, ignored=plan.ignored_class)
            found = [o.dice for o in counts if o.status != "both_empty"]
            means += [float(np.mean(found))] if found else []
    return tuple(means)


class ValidationCost:
    """What validation takes on a machine with nothing else to do.

    It follows from one window and one case that are timed.

    Args:
        predictor: A bundle with the planned network; its weights do not matter.
        description: The data set.
        store: Preprocessed cases, for their sizes.
        ids: Cases that may be validated, at least one.
        steps: Post-processing that is tried on each mask.
        timer: What seconds are taken from: `time.thread_time`, or wall time for a GPU.
    """

    def __init__(
        self,
        predictor: Predictor,
        description: DatasetDescription,
        store: Store,
        ids: Sequence[str],
        timer: Clock,
        steps: Sequence[PostprocessSpec] = (),
    ) -> None:
        plan = predictor.bundle.plan
        self._windows = {name: _windows(store.case(name), plan) for name in ids}
        self.window_seconds = _time_window(predictor, plan, timer)
        sizes = {name: prod(store.case(name).original.grid_size) for name in ids}
        middle = sorted(ids, key=lambda name: sizes[name])[len(ids) // 2]
        predictor.predict(read_case(description, description.case(middle)))  # compiles all it needs
        seconds = _time_reading(description, middle, predictor, timer)
        seconds += _time_trials(description, middle, steps, timer)
        per_voxel = seconds / sizes[middle]
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
    """For each label, the volumes between which 98 % of the training cases lie.

    Where voxels are ignored nobody knows how large a structure is: then there are none.
    """
    if plan.ignored_value is not None:
        return {}
    volumes = np.array(
        [
            np.array(store.case(name).class_voxels[1:]) * store.case(name).geometry.voxel_volume_ml
            for name in ids
        ]
    )
    low, high = np.quantile(volumes, (0.01, 0.99), axis=0)
    return {label.name: (float(low[n]), float(high[n])) for n, label in enumerate(plan.labels)}


def overlaps(
    predicted: IntArray,
    reference: IntArray,
    structures: Iterable[Sequence[int]],
    *,
    ignored: int | None = None,
) -> list[Overlap]:
    """Overlap of each structure, which is one value or several.

    Args:
        predicted: Values, any shape.
        reference: Values in the same shape.
        structures: The values of each.
        ignored: What the reference holds where nothing counts.
    """
    structures = list(structures)
    flat, truth = predicted.ravel(), reference.ravel()
    if ignored is not None:
        flat, truth = flat[truth != ignored], truth[truth != ignored]
    if any(len(values) > 1 for values in structures):
        return [_union_overlap(flat, truth, values) for values in structures]
    most = max(value for (value,) in structures) + 1
    counts: list[npt.NDArray[Any]] = [
        np.bincount(part, minlength=most) for part in (flat, truth, flat[flat == truth])
    ]
    return [Overlap(*(int(count[value]) for count in counts)) for (value,) in structures]


def _union_overlap(predicted: IntArray, reference: IntArray, values: Sequence[int]) -> Overlap:
    """Overlap of a union of values."""
    one, other = np.isin(predicted, values), np.isin(reference, values)
    return Overlap(int(one.sum()), int(other.sum()), int((one & other).sum()))


def _windows(case: StoredCase, plan: Plan) -> int:
    axes = zip(case.grid_size, plan.window.patch_size, strict=True)
    return prod(len(positions(max(n, p), p, plan.window.overlap)) for n, p in axes)


def _time_reading(
    description: DatasetDescription, case_id: str, predictor: Predictor, timer: Clock
) -> float:
    """Seconds to read and prepare a case: the second time, when all kernels are loaded."""
    case, seconds = description.case(case_id), 0.0
    for _ in range(2):
        begin = timer()
        predictor.configured[0].prepared(read_case(description, case))
        seconds = timer() - begin
    return seconds


def _time_trials(
    description: DatasetDescription, case_id: str, steps: Sequence[PostprocessSpec], timer: Clock
) -> float:
    """Seconds to try all steps on a mask like the reference."""
    reference = read_case_label(description, description.case(case_id))
    begin = timer()
    trials(reference, reference, steps, description.ignored_value)
    return timer() - begin


def _time_window(predictor: Predictor, plan: Plan, timer: Clock) -> float:
    """Seconds of an image of one window: the shorter of two, after one that warms up."""
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), plan.window.patch_size)
    image = np.zeros((len(plan.channels), *plan.window.patch_size), np.float32)
    mask = np.zeros(plan.window.patch_size, np.uint8) if plan.mask_channels else None
    case = Preprocessed(image, None, geometry, geometry, mask)
    seconds = []
    for _ in range(3):
        begin = timer()
        predictor.predict_preprocessed(case)
        seconds.append(timer() - begin)
    return min(seconds[1:])
