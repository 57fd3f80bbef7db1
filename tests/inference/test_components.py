"""Connected parts are those of scipy, in any order of memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from medseg.inference.components import parts_of

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)


def parts(array):
    """Value and size of each part, in order."""
    found = parts_of(array)
    rows = zip(found.values.tolist(), found.sizes.tolist(), found.counts.tolist(), strict=True)
    return sorted(part for *part, count in rows for _ in range(count))


def parts_by_scipy(array):
    found = []
    for value in np.unique(array[array > 0]):
        marked, _ = ndimage.label(array == value)
        found += [[int(value), int(size)] for size in np.bincount(marked.ravel())[1:]]
    return sorted(found)


@settings(max_examples=100, deadline=None)
@given(arrays(st.sampled_from([np.uint8, np.uint16]), SHAPES, elements=st.integers(0, 3)))
def test_parts_are_those_of_scipy(array):
    assert parts(array) == parts_by_scipy(array)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_parts_are_the_same_in_any_order_of_memory(axes):
    array = np.random.default_rng(0).integers(0, 3, (7, 5, 6)).astype(np.uint8)
    turned = np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    assert np.array_equal(turned, array)
    assert parts(turned) == parts(array) == parts_by_scipy(array)
    assert parts(array[::-1, :, ::2]) == parts_by_scipy(array[::-1, :, ::2])


def test_a_spiral_is_one_part_and_corners_do_not_touch():
    spiral = np.zeros((1, 5, 5), np.uint8)
    spiral[0, 0] = spiral[0, 4] = spiral[0, :, 4] = spiral[0, 2:, 0] = 7
    spiral[0, 2, :3] = 7
    assert parts(spiral) == [[7, int((spiral == 7).sum())]]
    diagonal = np.zeros((2, 2, 2), np.uint8)
    diagonal[0, 0, 0] = diagonal[1, 1, 0] = diagonal[1, 0, 1] = 1
    assert parts(diagonal) == [[1, 1]] * 3


def test_values_side_by_side_are_parts_of_their_own():
    row = np.array([[[0, 1, 1, 2, 2, 2, 0, 1]]], np.uint8)
    assert parts(row) == [[1, 1], [1, 2], [2, 3]]
    assert parts(np.zeros((2, 3, 4), np.uint8)) == []


def test_memory_grows_with_a_plane_and_not_with_the_parts():
    """Each second voxel of a chequered cube is a part of its own."""
    board = (np.indices((120, 60, 60)).sum(axis=0) % 2).astype(np.uint8)
    tracemalloc.start()
    found = parts_of(board)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [array.tolist() for array in found] == [[1], [1], [board.size // 2]]
    assert peak < 2 * board.size  # a number of 8 bytes for each part would be 4


def test_values_of_16_bits_and_large_parts_are_told_apart():
    array = np.full((3, 300, 300), 65535, np.uint16)
    array[1] = 65534
    assert parts(array) == [[65534, 90_000], [65535, 90_000], [65535, 90_000]]
    assert parts_of(array).of(65535).counts.tolist() == [2]
    assert parts_of(array).of(1).counts.tolist() == []
