import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d, map_coordinates

from medseg.space.image_kernels import GAIN
from medseg.space.taps import filtering, interpolating, smoothing


def applied(taps, line):
    return (line[taps.voxel] * taps.weight).sum(axis=1)


@pytest.fixture
def line():
    return np.random.default_rng(0).random(17)


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("nearest", 0)])
def test_values_are_those_of_scipy(line, interpolation, order, upwards):
    at = np.random.default_rng(1).uniform(-0.5, 16.5, 40)
    taps = interpolating(at, 17, interpolation, upwards=upwards, sigma=0.0)
    expected = map_coordinates(line, at[None], order=order, mode="nearest")
    np.testing.assert_allclose(applied(taps, line), expected, atol=1e-6)


def test_half_way_the_nearest_is_the_upper_one_only_upwards(line):
    at = np.array([3.5, 4.5])
    for upwards, expected in ((True, [4, 5]), (False, [3, 4])):
        taps = interpolating(at, 17, "nearest", upwards=upwards, sigma=0.0)
        assert taps.voxel[:, 0].tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_neighbours_stay_on_a_short_line(size):
    at = np.linspace(-0.5, size - 0.5, 9)
    taps = interpolating(at, size, "cubic", upwards=True, sigma=2.0)
    assert taps.voxel.min() >= 0
    assert taps.voxel.max() < size
    assert taps.spline == (size > 1)
    np.testing.assert_allclose(taps.weight.sum(axis=1), GAIN if size > 1 else 1.0, rtol=1e-6)


def test_whole_positions_copy():
    taps = interpolating(np.arange(5.0)[::-1], 5, "cubic", upwards=True, sigma=0.0)
    assert not taps.spline
    assert taps.voxel[:, 0].tolist() == [4, 3, 2, 1, 0]


def test_smoothing_matches_the_point_spread():
    assert smoothing(1.0) == smoothing(0.2) == 0.0
    fwhm = 2.354820045
    assert (smoothing(3.0) * fwhm) ** 2 + 1.0 == pytest.approx(9.0)


def test_smoothing_is_a_gaussian_with_mirrored_ends(line):
    taps = filtering(17, cubic=False, sigma=1.2)
    expected = gaussian_filter1d(line, 1.2, mode="mirror", radius=4)
    np.testing.assert_allclose(applied(taps, line), expected, atol=1e-6)
