import time
from pathlib import Path

import numpy as np
import pytest

from medseg.bundle import Bundle, Provenance
from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.inference.predict import Predictor
from medseg.networks.build import build
from medseg.training.afterwards import steps_to_try
from medseg.training.judged import Judgement
from medseg.training.validation import (
    ValidationCost,
    mean_dice,
    overlaps,
    quick_dice,
    volume_ranges_ml,
)


@pytest.fixture
def predictor(plan: Plan) -> Predictor:
    origin = Provenance(medseg_version="0", created="2026", data_name="Blobs", data_hash="", seed=0)
    return Predictor(Bundle(plan, origin, (build(plan.network).state_dict(),)), device="cpu")


@pytest.fixture
def store(blobs: DatasetDescription, plan: Plan, tmp_path: Path) -> Store:
    return Store.build(tmp_path / "store", blobs, plan)


def test_means_leave_out_what_is_not_defined() -> None:
    scores = [
        Judgement(case="a", fold=0, dice={"core": 0.5, "shell": None, "rim": None}),
        Judgement(case="b", fold=0, dice={"core": 1.0, "shell": 0.25, "rim": None}),
    ]
    assert mean_dice(scores) == {"core": 0.75, "shell": 0.25, "rim": None, "mean": 0.5}


def test_quick_dice_is_a_mean_for_each_case(predictor: Predictor, store: Store) -> None:
    cases = [store.case(name) for name in store.ids[:2]]
    found = quick_dice(predictor, cases)
    assert len(found) == 2
    assert all(0.0 <= dice <= 1.0 for dice in found)
    assert quick_dice(predictor, cases[1:]) == found[1:]


def test_cost_grows_with_the_cases(
    predictor: Predictor, blobs: DatasetDescription, store: Store
) -> None:
    cost = ValidationCost(predictor, blobs, store, store.ids, time.perf_counter)
    assert 0 < cost.quick(store.ids[:1]) < cost.quick(store.ids[:4])
    assert cost.whole(store.ids[:4]) > cost.quick(store.ids[:4])


def test_steps_that_are_tried_cost_their_time(
    predictor: Predictor, blobs: DatasetDescription, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def trials(*_: object) -> None:
        nonlocal now
        now += 5.0

    monkeypatch.setattr("medseg.training.validation.trials", trials)
    steps = steps_to_try(blobs.labels, {}, instances=False)
    cost = ValidationCost(predictor, blobs, store, store.ids, lambda: now, steps)
    assert cost.whole(store.ids[:1]) - cost.quick(store.ids[:1]) > 5.0


def test_volume_ranges_hold_the_training_cases(store: Store, plan: Plan) -> None:
    ranges = volume_ranges_ml(store, store.ids, plan)
    voxel_ml = store.case(store.ids[0]).geometry.voxel_volume_ml
    for n, label in enumerate(plan.labels, start=1):
        volumes = [store.case(name).class_voxels[n] * voxel_ml for name in store.ids]
        low, high = ranges[label.name]
        assert min(volumes) <= low <= np.median(volumes) <= high <= max(volumes)


def test_overlaps_of_unions_are_those_of_their_masks() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(0, 5, (2, 6, 5, 4))
    structures = ((1, 2, 3), (3,), (2, 4))
    found = overlaps(one, other, structures)
    for values, overlap in zip(structures, found, strict=True):
        a, b = np.isin(one, values), np.isin(other, values)
        assert overlap.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    single = ((1,), (2,), (4,))
    assert overlaps(one, other, single) == overlaps(one, other, (*single, (1, 2)))[:3]


@pytest.mark.parametrize("structures", [((1,), (2,)), ((1, 2), (2,))])
def test_what_is_predicted_where_nobody_judged_does_not_count(
    structures: tuple[tuple[int, ...], ...],
) -> None:
    generator = np.random.default_rng(1)
    one, other = generator.integers(0, 3, (2, 6, 5, 4))
    truth = np.where(other == 2, 9, other)
    changed = np.where(truth == 9, 2 - one, one)
    counted = overlaps(one, truth, structures, ignored=9)
    assert counted == overlaps(changed, truth, structures, ignored=9)
    assert counted == overlaps(one[truth != 9], truth[truth != 9], structures)
