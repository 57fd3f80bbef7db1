"""A cascade learns from masks of networks that do not know the case; both stages predict."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.bundle import Bundle, Configuration, Provenance, load_bundle
from medseg.dataset.description import DatasetDescription, read_case
from medseg.dataset.plan import Plan, make_plan
from medseg.dataset.preprocess import Preprocessed
from medseg.dataset.store import Store
from medseg.dataset.stored import StoredCase
from medseg.errors import DatasetError, PlanError, TrainingError
from medseg.inference.elected import elected
from medseg.inference.predict import Predictor
from medseg.specs import Budget, MaskAugmentSpec
from medseg.training import fold, folds, prepare
from medseg.training.cascade import JUDGED_CASES, PARTS
from medseg.training.crossval import train
from medseg.training.module import Learner
from medseg.training.run import FOLDS, RunFolder, RunSettings
from medseg.types import IntArray
from medseg.volume.io import read_label_map

SETTINGS = RunSettings(epochs=2, config="cascade", precision="fp32", device="cpu")


@pytest.fixture(autouse=True)
def _alone_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(fold, "_load", lambda _machine: lambda: 1.0)
    monkeypatch.setattr(folds, "folds_at_once", lambda _runs: 1)


@pytest.fixture
def low(plan: Plan) -> Plan:
    return plan.model_copy(update={"config": "3d_low", "spacing_mm": (2.0, 2.0, 3.0)})


@pytest.fixture
def full(plan: Plan) -> Plan:
    """The cascade at full resolution: two structures, and so two channels more."""
    network = plan.network.model_copy(update={"in_channels": 3})
    change = {"config": "cascade", "network": network, "mask_augment": MaskAugmentSpec()}
    return Plan.model_validate(plan.model_copy(update=change))


@pytest.fixture(autouse=True)
def _planned(monkeypatch: pytest.MonkeyPatch, low: Plan) -> None:
    """Tiny cases have no 3d_low by the rules."""
    monkeypatch.setattr(prepare, "make_plan", lambda *_, **__: low)


def same(a: Bundle, b: Bundle) -> bool:
    return all(
        torch.equal(x[name], y[name])
        for one, other in zip(a.stages, b.stages, strict=True)
        for x, y in zip(one.members, other.members, strict=True)
        for name in x
    )


def by_networks(bundle: Bundle, numbers: Iterable[int], run: Path, case_id: str) -> IntArray:
    """The mask that some networks of the first stage find, on the grid of the second."""
    assert bundle.first_stage is not None
    members = tuple(bundle.first_stage.members[n] for n in numbers)
    first = replace(
        bundle, plan=bundle.first_stage.plan, members=members, first_stage=None,
        temperature=1.0, postprocessing=(),
    )  # fmt: skip
    (networks,) = Predictor(first, device="cpu").configured
    seen = Store(run / "first_stage/store").case(case_id)
    top = networks.sweep(Preprocessed(seen.image(), None, seen.geometry, seen.original))
    return elected([top], Store(run / "store").case(case_id).geometry, bundle.labels, ())


def test_a_single_training_leaves_one_bundle_of_both_stages(
    blobs: DatasetDescription, full: Plan, low: Plan, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[Budget] = []
    monkeypatch.setattr(prepare, "make_plan", lambda _, budget, **__: asked.append(budget) or low)
    run = tmp_path / "run"
    bundle = train(blobs, run, SETTINGS, plan=full)
    assert [budget.memory_bytes for budget in asked] == [full.budget.memory_bytes]
    assert bundle.first_stage is not None
    assert (bundle.plan, bundle.first_stage.plan) == (full, low)
    assert (len(bundle.members), len(bundle.first_stage.members)) == (1, PARTS)
    loaded = load_bundle(run)
    assert same(loaded, bundle)
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["first_stage"] == bundle.metrics["first_stage"]
    assert figures["first_stage"]["networks"] == PARTS
    assert 0 < figures["first_stage"]["cases"] <= PARTS * JUDGED_CASES
    prediction = Predictor(loaded, device="cpu", mirrors=True).predict(
        read_case(blobs, blobs.cases[0])
    )
    assert prediction.label_map.geometry.grid_size == (14, 12, 10)
    assert set(prediction.quality.expected_dice) == {"core", "shell"}
    held_out, training = bundle.provenance.validation_cases, bundle.provenance.training_cases
    assert sorted((*held_out, *training)) == [case.id for case in blobs.cases]
    store, alone = Store(run / "store"), set()
    for case_id in held_out:
        mask = by_networks(bundle, range(PARTS), run, case_id)
        np.testing.assert_array_equal(store.case(case_id).mask(), mask)
    for case_id in training:
        masks = [by_networks(bundle, [n], run, case_id) for n in range(PARTS)]
        hits = [n for n in range(PARTS) if np.array_equal(masks[n], store.case(case_id).mask())]
        assert hits
        alone.update(hits)
    assert alone == set(range(PARTS))


def test_with_folds_the_mask_is_that_of_the_fold_that_held_the_case_out(
    blobs: DatasetDescription, full: Plan, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = SETTINGS.model_copy(update={"epochs": 1, "folds": (0, 2)})
    bundle = train(blobs, run, settings, plan=full)
    assert bundle.first_stage is not None
    assert (len(bundle.members), len(bundle.first_stage.members)) == (2, FOLDS)
    parts = json.loads((run / "folds.json").read_text())["validation"]
    for n, ids in enumerate(parts):
        for case_id in ids:
            mask = by_networks(bundle, [n], run, case_id)
            np.testing.assert_array_equal(Store(run / "store").case(case_id).mask(), mask)
    # All cases were seen by some network of the first stage, but judged by those that had not.
    assert len(bundle.provenance.training_cases) == len(blobs.cases)
    assert bundle.metrics["measured_on"] == "cases that were held out"
    case_id = parts[2][0]
    unaware = replace(
        bundle, members=bundle.members[1:], postprocessing=(),
        first_stage=replace(bundle.first_stage, members=bundle.first_stage.members[2:3]),
    )  # fmt: skip
    expected = Predictor(unaware, device="cpu").predict(read_case(blobs, blobs.case(case_id)))
    judged = read_label_map(run / f"out_of_fold/{case_id}.nii.gz", blobs.labels)
    np.testing.assert_array_equal(judged.array, expected.label_map.array)


@pytest.mark.slow
def test_stopped_in_each_stage_it_goes_on_to_the_same_bits(
    blobs: DatasetDescription, full: Plan, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1})
    undisturbed = train(blobs, tmp_path / "undisturbed", settings, plan=full)
    run, step, keep = tmp_path / "run", Learner.step, StoredCase.keep_mask
    calls = {"step": 0, "mask": 0}

    def stopped_step(learner: Learner, *words: object) -> object:
        calls["step"] += 1
        if calls["step"] == 4 or (calls["mask"] == 8 and calls["step"] == at_masks + 2):
            raise KeyboardInterrupt
        return step(learner, *words)  # type: ignore[arg-type]

    def stopped_mask(case: StoredCase, mask: IntArray) -> None:
        calls["mask"] += 1
        if calls["mask"] == 3 and not (run / "stopped").exists():
            (run / "stopped").touch()
            calls["mask"] -= 1
            raise KeyboardInterrupt
        keep(case, mask)

    at_masks = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", stopped_step)
        patch.setattr(StoredCase, "keep_mask", stopped_mask)
        for stage in ("first stage", "masks", "second stage"):
            with pytest.raises(KeyboardInterrupt):
                train(blobs, run, settings, plan=full, resume=stage != "first stage")
            at_masks = calls["step"]
            assert not RunFolder(run).is_finished, stage
    assert calls["mask"] == len(blobs.cases)
    resumed = train(blobs, run, settings, resume=True)
    assert same(resumed, undisturbed)
    assert resumed.metrics["dice"] == undisturbed.metrics["dice"]
    assert resumed.metrics["first_stage"] == undisturbed.metrics["first_stage"]


class Ticking:
    """A clock that goes on by a little at each look."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.mark.slow
def test_both_stages_share_the_budget(
    blobs: DatasetDescription, full: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    write = StoredCase.keep_mask

    def noted(case: StoredCase, mask: IntArray) -> None:
        began.append(clock.now)
        write(case, mask)

    monkeypatch.setattr(StoredCase, "keep_mask", noted)
    clock = Ticking(0.05)
    settings = RunSettings(seconds=40, config="cascade", precision="fp32", device="cpu")
    train(blobs, tmp_path / "run", settings, plan=full, clock=clock)
    assert 40 - fold.FINISH_SECONDS - 3 <= clock.now <= 40
    assert 12 < began[0] <= began[-1] < 24


def test_a_cascade_counts_as_two_trainings() -> None:
    assert SETTINGS.trainings == 2
    assert RunSettings(epochs=1, compare=("3d_full", "cascade"), folds=(0, 1)).networks == 6
    assert RunSettings(epochs=1, compare=("2d", "3d_full")).networks == 2
    assert RunSettings(epochs=1).networks == 1


def test_one_patient_is_too_few(blobs: DatasetDescription, full: Plan, tmp_path: Path) -> None:
    cases = tuple(case.model_copy(update={"patient": "one"}) for case in blobs.cases[:3])
    one = blobs.model_copy(update={"cases": cases})
    with pytest.raises(DatasetError, match=r"no mask comes from a network.*one patient.*3d_full"):
        train(one, tmp_path / "run", SETTINGS, plan=full)


def test_other_weights_to_start_from_are_refused(
    blobs: DatasetDescription, full: Plan, low: Plan, tmp_path: Path
) -> None:
    state = dict(Learner(full, device="cpu", precision="fp32", seed=0).averaged_weights())
    before = dict(Learner(low, device="cpu", precision="fp32", seed=0).averaged_weights())
    start = Bundle(
        full,
        Provenance(medseg_version="0", created="2026", data_name="Other", data_hash="", seed=0),
        (state,),
        first_stage=Configuration(low, (before,)),
    )
    with pytest.raises(TrainingError, match="starts from drawn weights"):
        train(blobs, tmp_path / "run", SETTINGS, plan=full, start=start)


def test_where_no_3d_low_is_planned_it_is_refused(
    blobs: DatasetDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "make_plan", make_plan)
    with pytest.raises(PlanError, match=r"no 3d_low that it could refine: full resolution already"):
        train(blobs, tmp_path / "run", SETTINGS)


@pytest.mark.slow
def test_it_is_compared_with_other_configurations(
    blobs: DatasetDescription, plan: Plan, low: Plan, full: Plan, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    planned = {"3d_full": plan, "3d_low": low, "cascade": full}
    monkeypatch.setattr(prepare, "make_plan", lambda *_, config, **__: planned[config])
    settings = SETTINGS.model_copy(
        update={"config": "auto", "compare": ("3d_full", "cascade"), "epochs": 1, "folds": (1, 3)}
    )
    bundle = train(blobs, tmp_path / "run", settings)
    rated = {one["name"] for one in bundle.metrics["choice"]["candidates"]}
    assert rated == {"3d_full", "cascade", "3d_full+cascade"}
    assert same(load_bundle(tmp_path / "run"), bundle)
    assert (tmp_path / "run/cascade/first_stage/checkpoint").is_dir()


@pytest.mark.slow
def test_folds_at_once_and_several_devices_train_it_too(
    blobs: DatasetDescription, full: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1})
    in_turn = train(blobs, tmp_path / "in_turn", settings, plan=full)
    monkeypatch.setattr(folds, "folds_at_once", lambda runs: len(runs[0].splits))
    assert same(train(blobs, tmp_path / "at_once", settings, plan=full), in_turn)
    two = settings.model_copy(update={"devices": 2})
    together = train(blobs, tmp_path / "together", two, plan=full)
    assert together.first_stage is not None
    assert len(together.first_stage.members) == PARTS
