import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.volume.dicom_contours import fill, trace

planes = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def area(ring):
    following = np.roll(ring, -1, axis=0)
    return abs((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum()) / 2


@given(planes)
def test_a_mask_comes_back_from_its_contours(plane):
    assert np.array_equal(fill(trace(plane), plane.shape), plane)


@given(planes)
def test_it_comes_back_turned_too(plane):
    turned = [ring[:, ::-1] for ring in trace(plane)]
    assert np.array_equal(fill(turned, plane.shape[::-1]), plane.T)


def test_one_voxel_is_a_diamond():
    plane = np.zeros((5, 5), bool)
    plane[2, 3] = True
    (ring,) = trace(plane)
    assert {tuple(corner) for corner in ring} == {(2.5, 3), (1.5, 3), (2, 3.5), (2, 2.5)}
    assert trace(np.zeros((3, 3), bool)) == []


def test_straight_lines_have_two_ends():
    (ring,) = trace(np.ones((40, 30), bool))
    assert len(ring) == 8
    assert area(ring) == pytest.approx(40 * 30 - 4 / 8)


def test_a_hole_is_a_keyhole_in_one_contour():
    plane = np.ones((9, 9), bool)
    plane[3:6, 3:6] = False
    plane[4, 4] = True
    rings = trace(plane)
    assert len(rings) == 2
    assert np.array_equal(fill(rings, plane.shape), plane)
    (outer,) = trace(np.ones((9, 9), bool))
    (hole,) = trace(plane == 0)[:1]
    assert max(map(area, rings)) < area(outer)
    assert len(hole) > 0


def test_nested_contours_are_holes():
    outer = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], float) + 0.5
    inner = np.array([[2, 2], [6, 2], [6, 6], [2, 6]], float) + 0.5
    mask = fill([outer, inner], (12, 12))
    assert mask.sum() == 64 - 16
    assert not mask[4, 4]
    assert mask[1, 1]


def test_what_lies_beyond_the_plane_is_cut_off():
    wide = np.array([[-3, -3], [20, -3], [20, 20], [-3, 20]], float)
    assert fill([wide], (4, 6)).all()
    assert not fill([wide + 100], (4, 6)).any()
    assert not fill([np.zeros((2, 2))], (4, 6)).any()


def test_the_area_of_a_disc_is_right_to_a_hundredth():
    i, j = np.ogrid[:200, :200]
    disc = (i - 100) ** 2 + (j - 100) ** 2 < 80**2
    (ring,) = trace(disc)
    assert area(ring) == pytest.approx(disc.sum(), rel=1e-2)
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    round_ring = 100 + 80 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert fill([round_ring], disc.shape).sum() == pytest.approx(disc.sum(), rel=1e-3)
