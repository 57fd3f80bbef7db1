import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import InvalidGeometry
from medseg.space.grids import grid_at_spacing
from medseg.space.resample import resample_array
from medseg.space.votes import (
    SLOTS,
    TopClasses,
    heaviest,
    largest_slot,
    vote,
    vote_together,
)
from medseg.volume.geometry import Geometry

GRID = Geometry(np.diag([1.0, 1.0, 2.0, 1.0]), (4, 5, 3))


@pytest.fixture
def top():
    top = TopClasses.empty(3, GRID)
    top.weights[:] = np.random.default_rng(0).random(top.weights.shape)
    return top


def test_the_same_grid_gives_the_arg_max(top):
    np.testing.assert_array_equal(vote(top, GRID), top.weights.argmax(axis=0))


def test_outside_is_background(top):
    top.weights[0] = 0
    padded = vote(top, GRID.cropped((-2, 0, -1), (8, 5, 5)))
    np.testing.assert_array_equal(padded[2:-2, :, 1:-1], top.weights.argmax(axis=0))
    assert padded[:2].max() == padded[-2:].max() == padded[..., 0].max() == 0
    far = GRID.cropped((100, 0, 0), (2, 2, 2))
    assert vote(top, far).max() == 0


def test_a_mixture_can_elect_a_class_that_is_second_everywhere():
    top = TopClasses.empty(3, Geometry(np.eye(4), (2, 1, 1)))
    top.weights[:, 0, 0, 0] = 0.5, 0.4, 0.0
    top.weights[:, 1, 0, 0] = 0.0, 0.4, 0.5
    finer = grid_at_spacing(top.geometry, (2 / 3, 1.0, 1.0))
    assert vote(top, finer).ravel().tolist() == [0, 1, 2]


def test_empty_slots_elect_background():
    top = TopClasses.empty(9, GRID)
    assert vote(top, GRID).max() == 0
    assert vote(top, grid_at_spacing(GRID, (0.7, 0.7, 0.7))).max() == 0


def test_many_classes_need_no_more_slots():
    few, many = TopClasses.empty(SLOTS + 1, GRID), TopClasses.empty(256, GRID)
    assert few.weights.nbytes + few.classes.nbytes == many.weights.nbytes + many.classes.nbytes
    assert TopClasses.empty(257, GRID).classes.dtype == np.uint16


@pytest.mark.parametrize(
    "change",
    [
        {"weights": np.zeros((3, 4, 5, 3))},
        {"weights": np.zeros((2, 4, 5, 3), np.float32)},
        {"classes": np.zeros((3, 4, 5, 3), np.int64)},
        {"classes": np.zeros((4, 5, 3), np.uint8)},
        {"geometry": Geometry(np.eye(4), (4, 5, 4))},
    ],
)
def test_slots_fit_together(top, change):
    with pytest.raises(InvalidGeometry, match="Slots hold classes"):
        dataclasses.replace(top, **change)


def said(geometry, classes, seed, slots=4):
    """Random probabilities on a grid, with a slot for each class."""
    top = TopClasses.empty(classes, geometry, slots=slots)
    drawn = np.random.default_rng(seed).random(top.weights.shape)
    top.weights[:] = drawn / drawn.sum(axis=0)
    return top


FINER = grid_at_spacing(GRID, (0.6, 0.7, 0.9))


@pytest.mark.parametrize("target", [GRID, FINER])
def test_one_opinion_or_the_same_twice_votes_alone(top, target):
    np.testing.assert_array_equal(vote_together([top], target), vote(top, target))
    np.testing.assert_array_equal(vote_together([top, top], target), vote(top, target))


def test_on_one_grid_the_sum_decides():
    tops = [said(GRID, 4, seed) for seed in range(3)]
    summed = sum(top.weights for top in tops)
    np.testing.assert_array_equal(vote_together(tops, GRID), summed.argmax(axis=0))


def test_unlike_grids_are_summed_where_the_target_lies(monkeypatch):
    """Against every class interpolated by itself, the plain way."""
    monkeypatch.setattr("medseg.space.votes._VOXELS_AT_ONCE", 50)
    coarse = grid_at_spacing(GRID, (2.0, 1.5, 2.0))
    tops = [said(GRID, 3, 0), said(coarse, 3, 1), said(GRID.reordered((2, 0, 1), (1, -1, 1)), 3, 2)]
    dense = sum(
        np.stack([resample_array(w[None], t.geometry, FINER, interpolation="linear")[0]
                  for w in t.weights])
        for t in tops
    )  # fmt: skip
    runner_up, winner = np.sort(dense, axis=0)[-2:]
    clear = winner - runner_up > 1e-4
    assert clear.mean() > 0.99
    elected = vote_together(tops, FINER)
    np.testing.assert_array_equal(elected[clear], dense.argmax(axis=0)[clear])
    alone = vote(tops[0], FINER)
    assert (elected != alone).mean() > 0.2


def test_the_order_of_opinions_does_not_matter():
    tops = [said(GRID, 6, seed, slots=3) for seed in range(2)]
    for top in tops:
        top.classes[:] = np.random.default_rng(9).permuted(
            np.broadcast_to(np.arange(6).reshape(6, 1, 1, 1), (6, *GRID.grid_size)), axis=0
        )[:3]
    np.testing.assert_array_equal(vote_together(tops, FINER), vote_together(tops[::-1], FINER))


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, SLOTS), st.tuples(*[st.integers(1, 5)] * 3), st.randoms())
def test_the_heaviest_class_is_found_with_and_without_a_compiler(count, size, random):
    """Weights of few values, so that many are equal."""
    dense = TopClasses.empty(count, Geometry(np.eye(4), size))
    assert dense.is_dense
    dense.weights[:] = np.random.default_rng(random.randrange(99)).integers(0, 4, (count, *size))
    sparse = dataclasses.replace(dense, classes=np.ascontiguousarray(dense.classes), is_dense=False)
    assert heaviest(dense).dtype == heaviest(sparse).dtype
    np.testing.assert_array_equal(heaviest(dense), heaviest(sparse))
    np.testing.assert_array_equal(largest_slot(dense.weights), dense.weights.argmax(axis=0))


@pytest.mark.parametrize("classes", [SLOTS, SLOTS + 1])
def test_a_slot_for_each_class_takes_no_memory_for_their_numbers(classes):
    top = TopClasses.empty(classes, GRID)
    assert top.is_dense == (classes <= SLOTS)
    for part in (top, top.cropped((1, 1, 1), (2, 2, 2)), top.contiguous()):
        assert part.is_dense == top.is_dense
        assert (part.classes.strides[1:] == (0, 0, 0)) == top.is_dense


def test_several_opinions_of_few_classes_vote_on_any_grid(top):
    """Their numbers take no memory, and yet the loops find them."""
    other = dataclasses.replace(top, weights=top.weights[:, ::-1].copy())
    finer = grid_at_spacing(GRID, (0.6, 0.7, 0.8))
    whole = [dataclasses.replace(t, classes=t.classes.copy(), is_dense=False) for t in (top, other)]
    np.testing.assert_array_equal(vote_together([top, other], finer), vote_together(whole, finer))


def test_slot_n_holds_class_n_where_each_has_one(top):
    with pytest.raises(InvalidGeometry, match="slot n holds class n"):
        dataclasses.replace(top, classes=top.classes[::-1])
