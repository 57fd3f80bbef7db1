"""Each compiled loop against its plain numpy twin."""

import numpy as np
import pytest

from medseg.errors import InvalidGeometry
from medseg.space.kernels import add_window, heaviest_class
from medseg.space.votes import TopClasses
from medseg.volume.geometry import Geometry

GRID = Geometry(np.eye(4), (7, 6, 5))
WINDOW = (4, 4, 3)
STARTS = [(0, 0, 0), (3, 2, 2), (1, 0, 1), (2, 2, 0)]


def windows(count, concentration=1.0):
    generator = np.random.default_rng(count)
    gauss = generator.uniform(0.1, 1.0, WINDOW).astype(np.float32)
    for start in STARTS:
        shares = generator.dirichlet(np.full(count, concentration), WINDOW)
        yield start, np.moveaxis(shares, -1, 0).astype(np.float32), gauss


def dense_sums(count, concentration=1.0):
    total = np.zeros((count, *GRID.grid_size))
    for start, probabilities, gauss in windows(count, concentration):
        spot = tuple(slice(a, a + n) for a, n in zip(start, WINDOW, strict=True))
        total[:, *spot] += gauss * probabilities
    return total


def summed(count, slots, concentration=1.0):
    top = TopClasses.empty(count, GRID, slots=slots)
    for start, probabilities, gauss in windows(count, concentration):
        add_window(top.classes, top.weights, probabilities, gauss, start)
    return top


def as_dense(top, count):
    total = np.zeros((count, *GRID.grid_size))
    for number in range(count):
        total[number] = (top.weights * (top.classes == number)).sum(axis=0)
    return total


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_slot_for_each_class_holds_the_plain_sums(count):
    top = summed(count, 4)
    np.testing.assert_allclose(top.weights, dense_sums(count), rtol=1e-6)
    assert (top.classes == np.arange(count).reshape(-1, 1, 1, 1)).all()


def test_slots_in_use_are_summed_in_full():
    count, slots = 9, 3
    top = TopClasses.empty(count, GRID, slots=slots)
    start, probabilities, gauss = next(windows(count))
    for _ in range(3):
        add_window(top.classes, top.weights, probabilities, gauss, start)
    heaviest = np.sort(3 * probabilities * gauss, axis=0)[:-4:-1]
    found = np.sort(top.weights[:, :4, :4, :3], axis=0)[::-1]
    np.testing.assert_allclose(found, heaviest, rtol=1e-5)


@pytest.mark.parametrize(("count", "kind"), [(5, np.uint8), (256, np.uint8), (300, np.uint16)])
def test_few_slots_keep_the_heaviest_where_few_classes_compete(count, kind):
    top = TopClasses.empty(count, GRID, slots=4)
    generator = np.random.default_rng(0)
    rivals = generator.choice(count, 4, replace=False)
    total = np.zeros((count, *GRID.grid_size))
    for start, four, gauss in windows(4):
        probabilities = np.zeros((count, *WINDOW), np.float32)
        probabilities[rivals] = four
        add_window(top.classes, top.weights, probabilities, gauss, start)
        spot = tuple(slice(a, a + n) for a, n in zip(start, WINDOW, strict=True))
        total[:, *spot] += gauss * probabilities
    assert top.classes.dtype == kind
    loss = (total - as_dense(top, count)) / np.maximum(total.sum(axis=0), 1e-9)
    assert np.abs(loss).max() < 4e-3
    np.testing.assert_array_equal(heaviest_class(top.classes, top.weights), total.argmax(axis=0))


def test_no_class_has_two_slots_and_no_weight_is_invented():
    top, dense = summed(12, 3), dense_sums(12)
    for a in range(3):
        for b in range(a):
            both = (top.weights[a] > 0) & (top.weights[b] > 0)
            assert not (both & (top.classes[a] == top.classes[b])).any()
    assert (as_dense(top, 12) <= dense * (1 + 1e-5)).all()


def test_the_heaviest_class_is_the_smaller_of_equals_in_any_slot():
    classes = np.array([5, 2, 7], np.uint8).reshape(3, 1, 1, 1)
    weights = np.array([0.5, 0.5, 0.1], np.float32).reshape(3, 1, 1, 1)
    assert heaviest_class(classes, weights).item() == 2
    assert heaviest_class(classes, weights * 0).item() == 0


@pytest.mark.parametrize("start", [(-1, 0, 0), (4, 0, 0), (0, 0, 3), (0, 0)])
def test_a_window_lies_within_its_volume(start):
    top = TopClasses.empty(3, GRID)
    probabilities = np.zeros((3, *WINDOW), np.float32)
    with pytest.raises(InvalidGeometry, match="lies within its volume"):
        add_window(top.classes, top.weights, probabilities, probabilities[0], start)


def test_a_window_has_one_weight_for_each_voxel():
    top = TopClasses.empty(3, GRID)
    probabilities = np.zeros((3, *WINDOW), np.float32)
    with pytest.raises(InvalidGeometry, match="one weight for each voxel"):
        add_window(top.classes, top.weights, probabilities, probabilities[0, 1:], (0, 0, 0))
