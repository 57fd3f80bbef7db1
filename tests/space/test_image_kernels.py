"""Each compiled loop against its plain numpy or scipy twin."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, spline_filter, spline_filter1d

from medseg.space.image_kernels import (
    GAIN,
    HORIZON,
    STRIP,
    blend_aligned,
    cubic_rotated,
    filter_first_axis,
    linear_aligned,
    linear_rotated,
    nearest_rotated,
)

STEP = 2.0**-17


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.mark.parametrize("size", [2, 3, HORIZON, HORIZON + 1, 40])
@pytest.mark.parametrize("columns", [3, STRIP + 5])
def test_filtered_lines_are_spline_coefficients(generator, size, columns):
    values = generator.random((size, columns), dtype=np.float32)
    coefficients = np.empty_like(values)
    filter_first_axis(values, coefficients)
    expected = spline_filter1d(values.astype(np.float64), 3, axis=0, mode="mirror")
    np.testing.assert_allclose(coefficients * GAIN, expected, atol=1e-5)


def tables(generator, size, count, taps):
    index = generator.integers(0, size, (count, taps)).astype(np.int32)
    return index, generator.random((count, taps), dtype=np.float32)


def blend_plainly(source, index, weight, spline):
    out = source.astype(np.float64)
    for axis in range(3):
        if axis and spline[axis - 1]:
            out = spline_filter1d(out, 3, axis=axis, mode="mirror") / GAIN
        lines = np.moveaxis(out, axis, 0)[index[axis]]
        out = np.moveaxis(np.einsum("nt,nt...->n...", weight[axis], lines), 0, axis)
    return out


@pytest.mark.parametrize("taps", [(1, 1, 1), (2, 4, 3), (5, 6, 4), (7, 2, 8)])
@pytest.mark.parametrize("spline", [(False, False), (True, False), (False, True), (True, True)])
def test_blending_is_three_weighted_sums(generator, taps, spline):
    source = generator.random((5, 19, 6), dtype=np.float32)
    index, weight = zip(
        *(tables(generator, *a) for a in zip(source.shape, (4, 37, 9), taps, strict=True)),
        strict=True,
    )
    out = np.empty((4, 37, 9), np.float32)
    blend_aligned(source, index, weight, spline, out)
    expected = blend_plainly(source, index, weight, spline)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_two_neighbours_are_the_same_sums(generator):
    source = generator.random((5, 4, 6), dtype=np.float32)
    index, weight = zip(*(tables(generator, n, 7, 2) for n in source.shape), strict=True)
    weight = tuple(pair / pair.sum(axis=1, keepdims=True) for pair in weight)
    out = np.empty((7, 7, 7), np.float32)
    linear_aligned(source, index, weight, out)
    expected = blend_plainly(source, index, weight, (False, False))
    np.testing.assert_allclose(out, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(9, 8, 7), (2, 3, 1), (1, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize(("order", "name"), [(0, "nearest"), (1, "linear"), (3, "cubic")])
def test_any_grid_has_the_values_of_scipy(generator, shape, order, name):
    source = generator.random(shape, dtype=np.float32)
    matrix = np.eye(4)
    matrix[:3] += generator.normal(0, 0.3, (3, 4))
    out = np.empty((8, 9, 10), np.float32)
    fill = np.float32(-7)
    if name == "nearest":
        nearest_rotated(source, matrix, STEP, (True, False, True), fill, out)
    elif name == "linear":
        linear_rotated(source, matrix, STEP, fill, out)
    else:
        coefficients = spline_filter(source.astype(np.float64), 3, mode="mirror")
        cubic_rotated(coefficients.astype(np.float32), matrix, STEP, fill, out)
    index = np.indices(out.shape).reshape(3, -1)
    at = np.round((matrix[:3, :3] @ index + matrix[:3, 3:]) / STEP) * STEP
    last = np.array(shape)[:, None] - 1
    expected = map_coordinates(
        source.astype(np.float64), np.clip(at, 0, last), order=order, mode="mirror"
    )
    expected[((at < -0.5) | (at > last + 0.5)).any(axis=0)] = fill
    np.testing.assert_allclose(out.ravel(), expected, atol=2e-5)


def test_nan_and_infinity_stay():
    source = np.array([np.nan, 1, 2, np.inf, 4, 5], np.float32).reshape(1, 1, 6)
    at, one = np.arange(6, dtype=np.int32)[:, None], np.ones((6, 1), np.float32)
    none, lone = np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)
    out = np.empty_like(source)
    blend_aligned(source, (none, none, at), (lone, lone, one), (False, False), out)
    np.testing.assert_array_equal(out, source)
