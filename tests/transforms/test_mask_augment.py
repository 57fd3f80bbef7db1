"""The mask of a first stage: what is drawn, and what it does to a mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.specs import MaskAugmentSpec
from medseg.transforms.masks import (
    MaskParams,
    Operation,
    Removal,
    draw_mask,
    mask_channels,
    vary_mask,
)

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
ALWAYS = MaskAugmentSpec(operator_probability=1, removal_probability=1)


def mask_of(seed, size=(14, 12, 10), structures=3):
    """Balls of some structures."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    at = np.stack(np.indices(size), axis=-1)
    for structure in generator.integers(1, structures + 1, 5):
        distance = np.linalg.norm(at - generator.uniform(0, size), axis=-1)
        mask[distance < generator.uniform(1, 4)] = structure
    return mask


def test_it_is_drawn_as_often_and_as_far_as_the_spec_says():
    generator = np.random.default_rng(0)
    drawn = [draw_mask(MaskAugmentSpec(), 3, generator) for _ in range(3000)]
    changed = [params.operations for params in drawn if params.operations]
    removed = [params.removals for params in drawn if params.removals]
    assert len(changed) / 3000 == pytest.approx(0.4, abs=0.03)
    assert len(removed) / 3000 == pytest.approx(0.2, abs=0.03)
    assert all(sorted(one.structure for one in some) == [1, 2, 3] for some in changed + removed)
    every = [one for some in changed for one in some]
    assert {one.radius_voxels for one in every} == set(range(1, 9))
    names, counts = np.unique([one.operator for one in every], return_counts=True)
    assert set(names) == {"dilation", "erosion", "opening", "closing"}
    assert counts / len(every) == pytest.approx([0.25] * 4, abs=0.03)
    assert len({tuple(one.structure for one in some) for some in changed}) == 6
    assert {one.below_share for some in removed for one in some} == {0.15}


@few
@given(seeds, seeds)
def test_a_record_in_json_does_the_same_and_the_mask_stays_as_it_is(seed, drawn):
    mask = mask_of(seed)
    before = mask.copy()
    params = draw_mask(ALWAYS, 3, np.random.default_rng(drawn))
    again = MaskParams.model_validate_json(params.model_dump_json())
    assert again == params == draw_mask(ALWAYS, 3, np.random.default_rng(drawn))
    np.testing.assert_array_equal(vary_mask(mask, params), vary_mask(mask, again))
    np.testing.assert_array_equal(mask, before)
    assert set(np.unique(vary_mask(mask, params))) <= {0, *np.unique(mask)}


@few
@given(seeds)
def test_nothing_drawn_changes_nothing(seed):
    np.testing.assert_array_equal(vary_mask(mask_of(seed), MaskParams()), mask_of(seed))


@few
@given(seeds, st.integers(1, 4))
def test_what_grows_takes_from_others_and_what_shrinks_leaves_background(seed, radius):
    mask = mask_of(seed)
    for operator in ("dilation", "erosion"):
        step = Operation(structure=1, operator=operator, radius_voxels=radius)
        varied = vary_mask(mask, MaskParams(operations=(step,)))
        changed = varied != mask
        if operator == "dilation":
            assert (varied[mask == 1] == 1).all()
            assert (varied[changed] == 1).all()
        else:
            assert (mask[changed] == 1).all()
            assert not varied[changed].any()


def two_parts():
    """A large and two small parts of structure 1, one of which touches itself at a corner only."""
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[:4, :8, :8] = 1
    mask[6, 6, 6] = mask[7, 7, 7] = 1
    mask[9, 0, 0] = 1
    mask[9, 9, 9] = 2
    return mask


@pytest.mark.parametrize(
    ("choice", "gone"), [(0.0, (6, 6, 6)), (0.49, (6, 6, 6)), (0.5, (9, 0, 0)), (0.99, (9, 0, 0))]
)
def test_one_small_part_goes_and_the_large_one_never_does(choice, gone):
    mask = two_parts()
    removal = Removal(structure=1, choice=choice, below_share=0.15)
    varied = vary_mask(mask, MaskParams(removals=(removal,)))
    assert not varied[gone]
    assert (varied != mask).sum() == (2 if gone == (6, 6, 6) else 1)
    assert (varied[:4, :8, :8] == 1).all()
    assert varied[9, 9, 9] == 2


def test_a_structure_that_is_not_there_has_no_part_to_lose():
    mask = two_parts()
    removal = Removal(structure=3, choice=0.5, below_share=0.15)
    np.testing.assert_array_equal(vary_mask(mask, MaskParams(removals=(removal,))), mask)


def test_each_structure_has_a_channel():
    mask = np.array([[[0, 1], [3, 2]]], np.uint8)
    channels = mask_channels(mask, 2)
    assert channels.dtype == np.float32
    assert channels.tolist() == [[[[0, 1], [0, 0]]], [[[0, 0], [0, 1]]]]


def test_radii_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="smallest first"):
        MaskAugmentSpec(operator_radius_voxels=(3, 2))
