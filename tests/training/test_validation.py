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
from medseg.training.validation import (
    CaseDice,
    ValidationCost,
    mean_dice,
    quick_dice,
    validate,
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
        CaseDice(case="a", fold=0, dice={"core": 0.5, "shell": None, "rim": None}),
        CaseDice(case="b", fold=0, dice={"core": 1.0, "shell": 0.25, "rim": None}),
    ]
    assert mean_dice(scores) == {"core": 0.75, "shell": 0.25, "rim": None, "mean": 0.5}


def test_cases_are_scored_on_their_own_grid(
    predictor: Predictor, blobs: DatasetDescription
) -> None:
    ids = [case.id for case in blobs.cases[:2]]
    scores = validate(predictor, blobs, ids, fold=3, clock=lambda: 0.0, until=None)
    assert [(score.case, score.fold) for score in scores] == [(name, 3) for name in ids]
    assert all(set(score.dice) == {"core", "shell"} for score in scores)
    assert all(0 <= value <= 1 for score in scores for value in score.dice.values() if value)


def test_cases_that_would_end_late_are_left_out_but_for_the_first(
    predictor: Predictor, blobs: DatasetDescription
) -> None:
    ticks = iter(range(1000))
    ids = [case.id for case in blobs.cases]
    scores = validate(predictor, blobs, ids, fold=0, clock=lambda: float(next(ticks)), until=7.0)
    assert 1 <= len(scores) < len(ids)
    late = validate(predictor, blobs, ids, fold=0, clock=lambda: 9.0, until=7.0)
    assert [score.case for score in late] == ids[:1]


def test_quick_dice_is_a_mean(predictor: Predictor, store: Store) -> None:
    assert 0.0 <= quick_dice(predictor, [store.case(name) for name in store.ids[:2]]) <= 1.0


def test_cost_grows_with_the_cases(
    predictor: Predictor, blobs: DatasetDescription, store: Store
) -> None:
    cost = ValidationCost(predictor, blobs, store, store.ids, time.perf_counter)
    assert 0 < cost.quick(store.ids[:1]) < cost.quick(store.ids[:4])
    assert cost.whole(store.ids[:4]) > cost.quick(store.ids[:4])


def test_volume_ranges_hold_the_training_cases(store: Store, plan: Plan) -> None:
    ranges = volume_ranges_ml(store, store.ids, plan)
    voxel_ml = store.case(store.ids[0]).geometry.voxel_volume_ml
    for n, label in enumerate(plan.labels, start=1):
        volumes = [store.case(name).class_voxels[n] * voxel_ml for name in store.ids]
        low, high = ranges[label.name]
        assert min(volumes) <= low <= np.median(volumes) <= high <= max(volumes)
