"""Regions painted over one another, on their own grid and on others."""

import numpy as np
import pytest

from medseg.space.painting import paint, weights_of
from medseg.space.votes import TopClasses, vote
from medseg.volume.geometry import Geometry

GRID = Geometry.from_spacing((1.0, 1.0, 1.0), (8, 7, 6))
FINER = Geometry.from_spacing((0.5, 0.7, 1.3), (15, 9, 4), origin_mm=(0.2, 0.1, 0.3))


def top_of(probabilities, geometry=GRID, slots=None):
    top = TopClasses.empty(len(probabilities), geometry, slots=slots or len(probabilities))
    top.weights[:] = probabilities
    return top


def test_later_regions_cover_earlier_ones():
    """Five voxels in a row, by hand: in no region, in A, in A and B, in B alone, undecided."""
    line = Geometry.from_spacing((1.0, 1.0, 1.0), (5, 1, 1))
    a, b = np.array([0.1, 0.9, 0.8, 0.2, 0.5]), np.array([0.2, 0.3, 0.6, 0.7, 0.5])
    top = top_of(np.stack([a, b]).reshape(2, 5, 1, 1), line)
    assert paint([top], line, (1, 2)).ravel().tolist() == [0, 1, 2, 2, 0]
    assert paint([top], line, (7, 300)).ravel().tolist() == [0, 7, 300, 300, 0]


def test_disjoint_regions_give_what_classes_would():
    """Where each voxel has a class of more than half, on any grid where that stays so."""
    classes = np.random.default_rng(0).integers(0, 4, GRID.grid_size)
    shares = np.stack([np.where(classes == n, 0.7, 0.1) for n in range(4)]).astype(np.float32)
    painted = paint([top_of(shares[1:])], GRID, (1, 2, 3))
    np.testing.assert_array_equal(painted, vote(top_of(shares), GRID))


def test_one_region_is_one_class_on_every_grid():
    """Between two classes the vote is at one half, too."""
    inside = np.random.default_rng(1).random(GRID.grid_size).astype(np.float32)
    classes = vote(top_of(np.stack([1 - inside, inside])), FINER)
    np.testing.assert_array_equal(paint([top_of(inside[None])], FINER, (1,)), classes)


def test_nothing_is_painted_outside():
    far = Geometry.from_spacing((1.0, 1.0, 1.0), (4, 4, 4), origin_mm=(6.0, 0.0, 0.0))
    painted = paint([top_of(np.ones((1, *GRID.grid_size)))], far, (3,))
    assert (painted[:2] == 3).all()
    assert (painted[2:] == 0).all()


def test_opinions_on_unlike_grids_count_alike():
    full, none = np.ones((1, *GRID.grid_size)), np.zeros((1, *GRID.grid_size))
    small = Geometry.from_spacing((2.0, 2.0, 2.0), (4, 4, 3), origin_mm=(0.5, 0.5, 0.5))
    most = top_of(np.full((1, *small.grid_size), 0.7), small)
    assert paint([top_of(full), most], GRID, (1,))[2:5, 2:5, 2:4].all()
    assert not paint([top_of(none), most], GRID, (1,)).any()
    assert paint([top_of(full), top_of(full), top_of(none)], GRID, (1,)).all()


@pytest.mark.parametrize("slots", [2, 5])
def test_weights_are_found_in_any_slot(slots):
    top = TopClasses(
        np.array([[3, 0], [1, 3]], np.uint8).reshape(2, 2, 1, 1),
        np.array([[0.25, 0.5], [0.75, 0.0]], np.float32).reshape(2, 2, 1, 1),
        Geometry.from_spacing((1.0, 1.0, 1.0), (2, 1, 1)),
    )
    assert weights_of(top, 3).ravel().tolist() == [0.25, 0.0]
    assert weights_of(top, 1).ravel().tolist() == [0.75, 0.0]
    assert weights_of(top, slots).ravel().tolist() == [0.0, 0.0]
