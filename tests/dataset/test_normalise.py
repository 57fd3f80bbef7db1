"""Intensities made comparable."""

import numpy as np
import pytest

from medseg.dataset.normalise import ClipAndScale, MinMax, UnitRange, ZScore, normalise


def noise(seed=0, shape=(5, 6, 7)):
    return np.random.default_rng(seed).normal(100, 20, shape)


def test_a_z_score_has_mean_0_and_deviation_1():
    values = normalise(noise(), ZScore())
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=1e-5)
    assert values.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e6])
def test_a_z_score_does_not_depend_on_the_unit(factor):
    np.testing.assert_allclose(
        normalise(noise() * factor, ZScore()), normalise(noise(), ZScore()), atol=1e-4
    )


def test_inside_a_mask_zeros_stay_zeros():
    channel = noise()
    channel[0] = 0
    mask = channel != 0
    values = normalise(channel, ZScore(inside_nonzero=True), mask)
    assert not values[0].any()
    assert values[mask].mean() == pytest.approx(0, abs=1e-5)
    assert values[mask].std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("level", [0, 7, 1.7e6])
@pytest.mark.parametrize("how", [ZScore(), ZScore(inside_nonzero=True)])
def test_a_constant_channel_becomes_0_and_not_a_nan(level, how):
    channel = np.full((3, 3, 3), level, dtype=np.float64)
    assert not normalise(channel, how, channel != 0).any()


def test_ct_is_clipped_then_scaled():
    how = ClipAndScale(low=-100, high=300, mean=100, std=50)
    values = normalise(np.array([[[-1000, 0, 100, 3000]]], dtype=np.int16), how)
    np.testing.assert_allclose(values[0, 0], [-4, -2, 0, 4])


def test_colours_are_divided_by_their_range():
    values = normalise(np.array([[[0, 51, 255]]], dtype=np.uint8), UnitRange(scale=255))
    np.testing.assert_allclose(values[0, 0], [0, 0.2, 1])


@pytest.mark.parametrize("how", [ZScore(), UnitRange(scale=2.0)])
def test_the_file_s_values_are_left_alone(how):
    channel = noise().astype(np.float32)
    before = channel.copy()
    normalise(channel, how)
    np.testing.assert_array_equal(channel, before)


def test_the_range_of_a_case_becomes_0_to_1():
    channel = np.array([[[-5.0, 0.0, 15.0]]], np.float32)
    assert normalise(channel, MinMax()).ravel().tolist() == [0.0, 0.25, 1.0]
    assert not normalise(np.full((2, 2, 2), 7.0, np.float32), MinMax()).any()
