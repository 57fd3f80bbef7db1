"""A bundle in INT8 beside the old one, after its training or trained for it."""

import pytest
import torch
from exports import make_bundle

from medseg.bundle import load_bundle, save_bundle
from medseg.compression import quantize as quantizing
from medseg.compression.qat import BetweenGrids, fine_tuning, grids_of
from medseg.compression.quantize import QuantizeSettings, quantize
from medseg.dataset.description import read_case
from medseg.errors import BudgetTooShort, EngineDiffers, NoEngine
from medseg.inference.predict import Predictor
from medseg.networks import build


def test_after_training_the_weights_are_the_same_bytes(learned_bundle, balls, tmp_path):
    done = quantize(learned_bundle, balls, tmp_path / "out", QuantizeSettings(cases=2))
    copy = load_bundle(tmp_path / "out")
    assert copy.weights_sha256 == learned_bundle.weights_sha256
    assert done.folder == tmp_path / "out" / "openvino" / "int8"
    assert done.record.quantisation.trained_seconds == 0
    assert done.record.quantisation.untrained is None
    predictor = Predictor(copy, engine="openvino")
    assert predictor.precision == "int8"
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


@pytest.mark.slow
def test_trained_for_int8_is_held_to_the_old_dice(learned_bundle, balls, tmp_path):
    settings = QuantizeSettings(train=True, steps=3, cases=2, device="cpu", max_dice_loss=0.05)
    done = quantize(learned_bundle, balls, tmp_path / "out", settings, command="medseg quantize")
    record, trained = done.record, load_bundle(tmp_path / "out")
    assert record.quantisation.trained_seconds > 0
    assert record.quantisation.untrained.dice.torch == record.accuracy.dice.torch
    assert trained.provenance.started_from == learned_bundle.identity
    assert trained.provenance.command == "medseg quantize"
    assert set(trained.members[0]) == set(learned_bundle.members[0])
    name = "encoder.0.1.conv.weight"
    change = (trained.members[0][name] - learned_bundle.members[0][name]).abs().max()
    assert 0 < float(change) < 0.05
    volume = read_case(balls, balls.cases[5])
    assert Predictor(trained, engine="openvino").predict(volume).volumes_ml["core"] > 0
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_nothing_is_left_of_what_was_refused(learned_bundle, balls, tmp_path, monkeypatch):
    def differs(*words, **more):
        raise EngineDiffers("It differs.")

    monkeypatch.setattr(quantizing, "export", differs)
    with pytest.raises(EngineDiffers, match="It differs"):
        quantize(learned_bundle, balls, tmp_path / "out", QuantizeSettings())
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_in_memory_is_refused(balls, tmp_path):
    with pytest.raises(NoEngine, match="saved before it is quantised"):
        quantize(make_bundle(), balls, tmp_path / "out", QuantizeSettings())


def test_a_budget_that_leaves_no_time_is_refused(learned_bundle, balls, tmp_path):
    clock = iter(range(0, 10_000, 40))
    settings = QuantizeSettings(train=True, seconds=60.0, cases=1)
    with pytest.raises(BudgetTooShort, match="kept for the engine and its judgement"):
        quantize(
            learned_bundle, balls, tmp_path / "out", settings, clock=lambda: float(next(clock))
        )
    assert list(tmp_path.iterdir()) == []


def test_training_starts_between_grids_with_the_trained_weights(trial, learned_bundle):
    configuration = learned_bundle.configurations[0]
    grids = grids_of(trial, configuration, 0, "openvino")
    assert set(grids) == {"encoder.0.1.conv", "encoder.1.0.conv", "ups.0", "decoder.0.0.conv"}
    spec = learned_bundle.plan.network
    network = build(spec)
    start = BetweenGrids(spec, learned_bundle.members[0], grids)
    assert start.fill(network, spec) == ()
    kept = network.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in start.weights.items())
    assert type(network.ups[0]).__name__ == "FakeQuantised"


def test_the_rate_is_low_and_the_rest_of_the_plan_stays():
    plan = make_bundle().plan
    changed = fine_tuning(plan)
    assert (changed.recipe.optimizer, changed.recipe.learning_rate) == ("adamw", 1e-4)
    assert changed.model_copy(update={"recipe": plan.recipe}) == plan
    assert changed.recipe.batch_size == plan.recipe.batch_size


@pytest.mark.slow
def test_a_trained_bundle_replaces_an_older_one(learned_bundle, balls, tmp_path):
    save_bundle(make_bundle(), tmp_path / "out")
    (tmp_path / "out" / "old.txt").write_text("old")
    quantize(learned_bundle, balls, tmp_path / "out", QuantizeSettings(cases=1))
    assert not (tmp_path / "out" / "old.txt").exists()
