import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.metrics.matching import meetings, pair_up


def row(*numbers):
    return np.array([numbers])


def test_sizes_and_shared_voxels_are_counted():
    sizes = meetings(row(1, 1, 2, 0, 2), row(1, 2, 2, 2, 0))
    assert sizes.predicted[1:].tolist() == [2, 2]
    assert sizes.reference[1:].tolist() == [1, 3]
    assert sizes.both == {(1, 1): 1, (1, 2): 1, (2, 2): 1}
    assert sizes.overlap(1, 2).iou == pytest.approx(1 / 4)
    assert (sizes.overlap(2, None).iou, sizes.overlap(None, 1).reference) == (0.0, 1)


def test_a_half_is_not_enough():
    assert pair_up(meetings(row(1, 1, 0), row(1, 0, 0)), "half") == {}
    assert pair_up(meetings(row(1, 1, 1), row(1, 1, 0)), "half") == {1: 1}


def test_a_part_that_joins_two_stands_for_the_larger():
    sizes = meetings(row(1, 1, 1, 1, 1, 1), row(1, 1, 0, 2, 2, 2))
    assert pair_up(sizes, "overlap") == {2: 1}


def test_parts_that_do_not_meet_are_not_paired():
    assert pair_up(meetings(row(1, 0, 0), row(0, 0, 1)), "overlap") == {}
    assert pair_up(meetings(row(0, 0), row(0, 0)), "overlap") == {}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_other_pairs_have_more_in_common(seed):
    generator = np.random.default_rng(seed)
    there, back = generator.integers(0, 5, (2, 1, 12))
    there, back = (np.unique(x, return_inverse=True)[1].reshape(x.shape) for x in (there, back))
    sizes = meetings(there, back)
    pairs = pair_up(sizes, "overlap")
    assert len(set(pairs.values())) == len(pairs)
    assert all((p, r) in sizes.both for r, p in pairs.items())
    many = max(there.max(), back.max())
    best = max(
        sum(sizes.overlap(p, r).iou for r, p in enumerate(order, 1) if (p, r) in sizes.both)
        for order in itertools.permutations(range(1, many + 1))
    )
    assert sum(sizes.overlap(p, r).iou for r, p in pairs.items()) == pytest.approx(best)
