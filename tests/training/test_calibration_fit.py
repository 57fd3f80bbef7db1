"""The temperature is the one that made the probabilities what they are."""

import numpy as np
import pytest

from medseg.space.votes import TopClasses
from medseg.training import calibration
from medseg.training.calibration import (
    at_temperature,
    best_temperature,
    calibrate,
    sample_doubts,
)
from medseg.training.judged import Doubts
from medseg.volume.geometry import Geometry


def drawn(temperature, voxels=4000, seed=0, classes=3):
    """Probabilities of a network that is surer than it is right by a known factor."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=1.5, size=(voxels, classes))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(classes, p=row) for row in honest], np.int8)
    return Doubts(at_temperature(honest, 1 / temperature).astype(np.float32), truth)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_the_temperature_is_found_again(temperature):
    assert best_temperature(drawn(temperature)) == pytest.approx(temperature, rel=0.08)


def test_folds_are_judged_at_the_temperature_of_the_others():
    found = calibrate({fold: [drawn(2.0, seed=fold)] for fold in range(3)})
    assert found.temperature == found.fitted == pytest.approx(2.0, rel=0.08)
    assert found.nll_after < found.nll_before
    assert found.ece_after < 0.5 * found.ece_before
    assert found.voxels == 12000


def test_where_it_does_not_help_on_others_it_stays_one():
    found = calibrate({0: [drawn(0.4, 300)], 1: [drawn(2.5, 300, seed=1)]})
    assert found.nll_after > found.nll_before
    assert found.temperature == 1.0
    assert found.fitted != 1.0


def test_one_fold_is_shared_out_and_one_case_is_too_few():
    assert calibrate({0: [drawn(2.0, 500, seed=n) for n in range(4)]}).fitted > 1.5
    assert calibrate({0: [drawn(2.0)]}) is None
    assert calibrate({0: [], 1: []}) is None


def test_many_voxels_are_thinned_out(monkeypatch):
    monkeypatch.setattr(calibration, "MOST_ALTOGETHER", 1000)
    found = calibrate({fold: [drawn(2.0, seed=fold)] for fold in range(2)})
    assert found.voxels == 1000


def test_the_winner_stays_and_the_sum_is_one():
    p = drawn(1.0, 100).probabilities
    for temperature in (0.3, 1.0, 5.0):
        changed = at_temperature(p, temperature)
        np.testing.assert_allclose(changed.sum(axis=1), 1.0, rtol=1e-6)
        np.testing.assert_array_equal(changed.argmax(axis=1), p.argmax(axis=1))


@pytest.fixture
def top():
    grid = Geometry.from_spacing((1.0, 1.0, 1.0), (20, 20, 20))
    top = TopClasses.empty(3, grid)
    top.weights[:] = (
        np.random.default_rng(0).dirichlet((9, 1, 1), grid.grid_size).transpose(3, 0, 1, 2)
    )
    top.weights[:, :10] = np.array([1.0, 0.0, 0.0]).reshape(3, 1, 1, 1)
    return top


def test_a_sample_lies_near_the_structures_and_knows_the_truth(top, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_VOXELS", 50)
    classes = np.zeros((20, 20, 20), np.uint8)
    classes[15:, 15:, 15:] = 2
    found = sample_doubts(top, classes, "a")
    again, other = sample_doubts(top, classes, "a"), sample_doubts(top, classes, "b")
    np.testing.assert_array_equal(found.probabilities, again.probabilities)
    assert not np.array_equal(found.probabilities, other.probabilities)
    assert found.probabilities.shape == (50, 3)
    assert set(found.truth.tolist()) <= {0, 2}


def test_a_true_class_without_a_slot_is_minus_one():
    grid = Geometry.from_spacing((1.0, 1.0, 1.0), (2, 2, 2))
    top = TopClasses.empty(9, grid, slots=2)
    top.classes[0], top.classes[1] = 3, 5
    top.weights[0], top.weights[1] = 0.7, 0.3
    classes = np.full((2, 2, 2), 5, np.uint8)
    assert (sample_doubts(top, classes, "a").truth == 1).all()
    classes[:] = 8
    lost = sample_doubts(top, classes, "a")
    assert (lost.truth == -1).all()
    assert calibrate({0: [lost], 1: [lost]}).nll_before == pytest.approx(-np.log(1e-6))
