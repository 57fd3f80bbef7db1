import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from medseg.metrics.row_kernels import group_rows, nearest_in_row, search_rows


def test_points_are_sorted_into_rows():
    points = np.array([(2, 5, 1), (2, 5, 7), (3, 4, 0), (3, 5, 2)], np.int32)
    begin, depth = group_rows(points, np.array([2, 4]), np.array([2, 2]))
    assert begin.tolist() == [0, 0, 2, 3, 4]
    assert depth.tolist() == [1, 7, 0, 2]


@pytest.mark.parametrize(("k", "away"), [(0, 2), (2, 0), (4, 2), (5, 1), (6, 0), (9, 3)])
def test_the_nearest_in_a_row_is_before_or_behind(k, away):
    depth = np.array([-50, 2, 6, 7, 50], np.int32)
    assert nearest_in_row(depth, 1, 3, k) == away


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(0.3, 5.0)] * 3))
def test_the_search_finds_what_all_distances_say(seed, spacing_mm):
    generator = np.random.default_rng(seed)
    points, targets = (generator.integers(0, 9, (n, 3)).astype(np.int32) for n in (20, 6))
    targets = np.unique(targets, axis=0)
    low = targets[:, :2].min(axis=0).astype(np.int64)
    rows = targets[:, :2].max(axis=0).astype(np.int64) - low + 1
    begin, depth = group_rows(targets, low, rows)
    reach = np.arange(-12, 13)
    steps = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    length = ((steps * spacing_mm[:2]) ** 2).sum(axis=1)
    order = np.argsort(length)
    found = search_rows(points, begin, depth, low, rows, steps[order], length[order], spacing_mm[2])
    expected = cdist(points * spacing_mm, targets * spacing_mm).min(axis=1)
    known = found >= 0
    assert known.any()
    assert np.sqrt(found[known]) == pytest.approx(expected[known])


def test_the_search_gives_up_where_steps_do_not_reach():
    points, targets = np.zeros((1, 3), np.int32), np.array([(4, 0, 0)], np.int32)
    begin, depth = group_rows(targets, np.array([4, 0]), np.array([1, 1]))
    steps = np.array([(0, 0), (1, 0)])
    arguments = (points, begin, depth, np.array([4, 0]), np.array([1, 1]), steps)
    assert search_rows(*arguments, np.array([0.0, 1.0]), 1.0).tolist() == [-1.0]
