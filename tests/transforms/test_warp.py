import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from medseg.transforms.warp import along_axes, heaviest, spline_weights, warp_plane, warp_volume

NO_KNOTS = np.zeros((3, 0, 0, 0), dtype=np.float32)


def splines(size, knots):
    return tuple(spline_weights(n, k) for n, k in zip(size, knots.shape[1:], strict=True))


def positions(size, matrix, centre, knots):
    """Plain twin: source positions of all output voxels, shape (3, I, J, K)."""
    index = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"))
    place = np.einsum("ab,bijk->aijk", matrix, index) + centre[:, None, None, None]
    if knots.size:
        i, j, k = splines(size, knots)
        place += np.einsum("xabc,ia,jb,kc->xijk", knots, i, j, k)
    return place


def vote(labels, place):
    """Plain twin: each label gets the linear weights of its voxels, and the heaviest wins."""
    values = np.unique(labels)
    masks = [(labels == v).astype(np.float64) for v in values]
    shares = [map_coordinates(mask, place, order=1, mode="nearest") for mask in masks]
    return values[np.argmax(np.round(shares, 9), axis=0)], np.sort(shares, axis=0)[-2:]


@pytest.fixture
def source(request):
    generator = np.random.default_rng(3)
    image = generator.normal(size=(2, 9, 10, 11)).astype(np.float32)
    labels = generator.integers(0, 4, (9, 10, 11)).astype(np.uint8)
    return image, labels


@pytest.mark.parametrize("bent", [False, True])
def test_a_volume_is_warped_as_by_the_plain_twin(source, bent):
    image, labels = source
    size, centre = (5, 6, 4), np.array([4.2, 4.6, 5.1])
    turn = np.array([[0.8, -0.3, 0.1], [0.2, 0.9, -0.2], [0.1, 0.1, -0.7]])
    knots = np.random.default_rng(0).uniform(-0.8, 0.8, (3, 4, 5, 4)).astype(np.float32)
    knots = knots if bent else NO_KNOTS
    out, out_labels = np.empty((2, *size), np.float32), np.empty(size, np.uint8)
    warp_volume(image, labels, turn, centre, knots, splines(size, knots), out, out_labels)
    place = positions(size, turn, centre, knots)
    for channel in range(2):
        expected = map_coordinates(image[channel], place, order=1)
        np.testing.assert_allclose(out[channel], expected, atol=1e-5)
    expected_labels, (second, first) = vote(labels, place)
    clear = first - second > 1e-5
    assert clear.mean() > 0.95
    assert np.array_equal(out_labels[clear], expected_labels[clear])


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_plane_is_warped_as_by_the_plain_twin(source, bent, sign):
    image, labels = (array[..., :4].copy() for array in source)
    size, centre = (5, 6, 4), np.array([4.2, 4.6, 1.5])
    turn = np.array([[0.8, -0.3, 0], [0.2, 0.9, 0], [0, 0, sign]])
    knots = np.random.default_rng(0).uniform(-0.8, 0.8, (3, 4, 5, 1)).astype(np.float32)
    knots[2] = 0
    knots = knots if bent else NO_KNOTS
    out, out_labels = np.empty((2, *size), np.float32), np.empty(size, np.uint8)
    warp_plane(image, labels, turn, centre, knots, splines(size, knots), out, out_labels)
    place = positions(size, turn, centre, knots)
    np.testing.assert_allclose(out[1], map_coordinates(image[1], place, order=1), atol=1e-5)
    expected_labels, (second, first) = vote(labels, place)
    clear = first - second > 1e-5
    assert np.array_equal(out_labels[clear], expected_labels[clear])


def test_the_heaviest_value_wins_and_the_first_of_equals():
    values, weights = np.array([3, 1, 3, 2], np.uint8), np.array([0.3, 0.4, 0.2, 0.1])
    assert values[heaviest(values, weights)] == 3
    assert heaviest(values, np.array([0.5, 0.5, 0.0, 0.0])) == 0


@pytest.mark.parametrize("knots", [1, 4, 5, 9])
def test_knots_share_every_voxel(knots):
    weights = spline_weights(12, knots)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (weights >= -1e-7).all()


def test_splines_follow_a_straight_line():
    """Knots on a line give a line: linear precision of B-splines."""
    curve = spline_weights(10, 6) @ np.arange(6.0)
    np.testing.assert_allclose(np.diff(curve), np.diff(curve)[0], atol=1e-5)


def test_a_map_along_axes_is_a_product_of_matrices():
    generator = np.random.default_rng(1)
    image = generator.normal(size=(4, 5, 6)).astype(np.float32)
    taps = tuple(generator.integers(0, n, (3, n)) for n in image.shape)
    shares = tuple(generator.normal(size=(3, n)).astype(np.float32) for n in image.shape)
    expected = image.astype(np.float64)
    for axis, (tap, share) in enumerate(zip(taps, shares, strict=True)):
        matrix = np.zeros((image.shape[axis],) * 2)
        for t in range(3):
            np.add.at(matrix, (np.arange(image.shape[axis]), tap[t]), share[t])
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(along_axes(image, taps, shares), expected, atol=1e-4)
