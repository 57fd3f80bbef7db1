"""Members and mirrors are averaged by their logits."""

import numpy as np
import pytest
from scipy.special import log_softmax

from medseg.inference.engine import Engine, Part
from medseg.inference.ensemble import Ensemble

DEPTH = 40.0


class Linear(Engine):
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


class Sliced(Linear):
    """The same plane by plane."""

    def parts(self, batch):
        for n, plane in enumerate(np.moveaxis(self.run(batch), 2, 0)):
            yield Part(n, np.ascontiguousarray(plane[:, :, None]))


def mean(ensemble, batch):
    """Mean evidence, shape (B, N, *patch); each voxel has all its opinions."""
    total, seen = 0, np.zeros(batch.shape[2])
    for first, values in ensemble.parts(batch, DEPTH):
        slab = slice(first, first + values.shape[2])
        total = total + np.zeros((*values.shape[:2], *batch.shape[2:]))
        total[:, :, slab] += values
        seen[slab] += 1
    assert (seen == ensemble.opinions).all()
    return total / ensemble.opinions


@pytest.fixture
def batch():
    return np.random.default_rng(0).normal(size=(2, 1, 4, 6, 5)).astype(np.float32)


def test_members_are_averaged_by_their_logits(batch):
    one, two = Linear((0, 1, 2)), Linear((3, -1, 0))
    logs = (log_softmax(one.run(batch), axis=1) + log_softmax(two.run(batch), axis=1)) / 2
    found = mean(Ensemble([one, two]), batch)
    np.testing.assert_allclose(found, 1 + logs / DEPTH, atol=1e-6)
    logits = one.run(batch) + two.run(batch)
    np.testing.assert_array_equal(found.argmax(1), logits.argmax(1))


@pytest.mark.parametrize(("axes", "count"), [((), 1), ((1,), 2), ((0, 2), 4), ((0, 1, 2), 8)])
def test_every_combination_of_mirrors_is_shown(batch, axes, count):
    engine = Linear((0, 1, 2))
    mean(Ensemble([engine], mirror_axes=axes), batch)
    assert engine.calls == count


def test_mirrors_change_nothing_for_a_network_without_direction(batch):
    engine = Linear((0, 1, 2))
    plain, mirrored = Ensemble([engine]), Ensemble([engine], mirror_axes=(0, 1, 2))
    np.testing.assert_allclose(mean(mirrored, batch), mean(plain, batch), atol=1e-6)


@pytest.mark.parametrize("size", [(4, 6, 5), (4, 6)])
def test_parts_of_mirrored_images_come_back_to_their_place(size):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 1, *size)).astype(np.float32)
    position = rng.normal(size=(1, 3, *size))
    axes = range(len(size))
    whole, sliced = (
        Ensemble([kind((0, 1, 2), position)] * 2, mirror_axes=axes) for kind in (Linear, Sliced)
    )
    np.testing.assert_allclose(mean(sliced, image), mean(whole, image), atol=1e-6)


def test_mirrors_cancel_what_depends_on_the_side():
    ramp = np.zeros((1, 2, 4, 6, 5))
    ramp[0, 1] = np.linspace(-1, 1, 4).reshape(4, 1, 1)
    image = np.zeros((1, 1, 4, 6, 5), np.float32)
    out = mean(Ensemble([Linear((0, 0), ramp)], mirror_axes=(0,)), image)
    np.testing.assert_allclose(out, np.flip(out, 2), atol=1e-6)


def test_mirrors_work_in_two_dimensions():
    image = np.random.default_rng(0).normal(size=(2, 1, 4, 6)).astype(np.float32)
    engine = Linear((0, 1, 2))
    mirrored = Ensemble([engine], mirror_axes=(0, 1))
    np.testing.assert_allclose(mean(mirrored, image), mean(Ensemble([engine]), image), atol=1e-6)


def test_no_engine_is_a_mistake():
    with pytest.raises(ValueError, match="at least one engine"):
        Ensemble([])


def test_regions_are_averaged_by_their_logits(batch):
    engines = (Linear((1, -2, 3)), Linear((0, 5, 1)))
    logits = np.mean([engine.run(batch) for engine in engines], axis=0)
    ensemble = Ensemble(engines, activation="sigmoid")
    np.testing.assert_allclose(mean(ensemble, batch), 0.5 + logits / (2 * DEPTH), rtol=1e-4)


def test_the_mask_of_a_stage_before_becomes_channels_and_is_mirrored_with_the_image():
    """A network of three channels: the image, and where each of two structures is."""
    generator = np.random.default_rng(0)
    image = generator.normal(size=(2, 1, 4, 3, 2)).astype(np.float32)
    mask = generator.integers(0, 3, (2, 1, 4, 3, 2))
    given = np.concatenate([image, mask], axis=1, dtype=np.float32)
    channels = np.concatenate([image, mask == 1, mask == 2], axis=1, dtype=np.float32)
    expected = mean(Ensemble([Mixed()], mirror_axes=(0, 2)), channels)
    found = mean(Ensemble([Mixed()], mirror_axes=(0, 2), mask_channels=2), given)
    np.testing.assert_array_equal(found, expected)
    assert found.shape[1] == 2


class Mixed(Engine):
    """Two logits: a mixture of three channels with a preferred direction, and the first channel."""

    name, precision = "mixed", "fp32"

    def run(self, batch):
        assert batch.shape[1] == 3
        along = np.arange(batch.shape[2]).reshape(1, -1, 1, 1)
        mixture = batch[:, 0] + 3 * batch[:, 1] * along - batch[:, 2]
        return np.stack([mixture, batch[:, 0]], axis=1).astype(np.float32)
