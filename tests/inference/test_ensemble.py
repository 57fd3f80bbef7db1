"""Members and mirrors are averaged as probabilities."""

import numpy as np
import pytest
from scipy.special import softmax

from medseg.inference.ensemble import Ensemble, to_probabilities


class Linear:
    """A network without a preferred direction: logits are multiples of the image."""

    name = "linear"
    precision = "fp32"

    def __init__(self, factors, position=None):
        self.factors, self.position, self.calls = np.array(factors), position, 0

    def run(self, batch):
        self.calls += 1
        logits = batch * self.factors.reshape(1, -1, *[1] * (batch.ndim - 2))
        if self.position is not None:
            logits = logits + self.position
        return np.ascontiguousarray(logits, dtype=np.float32)


@pytest.fixture
def batch():
    return np.random.default_rng(0).normal(size=(2, 1, 4, 6, 5)).astype(np.float32)


def test_members_are_averaged_as_probabilities(batch):
    one, two = Linear((0, 1, 2)), Linear((3, -1, 0))
    expected = (softmax(one.run(batch), axis=1) + softmax(two.run(batch), axis=1)) / 2
    np.testing.assert_allclose(Ensemble([one, two]).run(batch), expected, atol=1e-6)


@pytest.mark.parametrize(("axes", "count"), [((), 1), ((1,), 2), ((0, 2), 4), ((0, 1, 2), 8)])
def test_every_combination_of_mirrors_is_shown(batch, axes, count):
    engine = Linear((0, 1, 2))
    Ensemble([engine], mirror_axes=axes).run(batch)
    assert engine.calls == count


def test_mirrors_change_nothing_for_a_network_without_direction(batch):
    engine = Linear((0, 1, 2))
    plain, mirrored = Ensemble([engine]), Ensemble([engine], mirror_axes=(0, 1, 2))
    np.testing.assert_allclose(mirrored.run(batch), plain.run(batch), atol=1e-6)


def test_mirrors_cancel_what_depends_on_the_side():
    ramp = np.zeros((1, 2, 4, 6, 5))
    ramp[0, 1] = np.linspace(-1, 1, 4).reshape(4, 1, 1)
    image = np.zeros((1, 1, 4, 6, 5), np.float32)
    out = Ensemble([Linear((0, 0), ramp)], mirror_axes=(0,)).run(image)
    np.testing.assert_allclose(out, np.flip(out, 2), atol=1e-6)


def test_mirrors_work_in_two_dimensions():
    image = np.random.default_rng(0).normal(size=(2, 1, 4, 6)).astype(np.float32)
    engine = Linear((0, 1, 2))
    mirrored = Ensemble([engine], mirror_axes=(0, 1))
    np.testing.assert_allclose(mirrored.run(image), Ensemble([engine]).run(image), atol=1e-6)


def test_softmax_in_place_is_softmax():
    logits = np.random.default_rng(0).normal(0, 30, (2, 7, 90, 50, 41)).astype(np.float32)
    expected = softmax(logits, axis=1)
    to_probabilities(logits)
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_no_engine_is_a_mistake(batch):
    with pytest.raises(ValueError, match="at least one engine"):
        Ensemble([]).run(batch)
