"""Post-processing: each step keeps its promise, done twice changes nothing more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.inference.postprocess import (
    filled,
    largest_component,
    parts_of_at_least,
    postprocessed,
    stepped,
)
from medseg.specs.postprocess import FilledHolesSpec, LargestComponentSpec, MinimumVolumeSpec
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

LABELS = (Label(value=1, name="core"), Label(value=4, name="shell"))
STEPS = (
    LargestComponentSpec(structure="core"),
    MinimumVolumeSpec(structure="shell", volume_ml=0.006),
    FilledHolesSpec(structure="core"),
)
MASKS = arrays(np.uint8, (4, 3, 5), elements=st.sampled_from([0, 0, 1, 4]))


def label_map(array):
    return LabelMap(array, Geometry.from_spacing((1.0, 1.0, 2.0), array.shape), LABELS)


@given(MASKS)
def test_done_twice_is_done_once(array):
    once = postprocessed(label_map(array), STEPS)
    np.testing.assert_array_equal(postprocessed(once, STEPS).array, once.array)


@given(MASKS, st.sampled_from(STEPS))
def test_a_step_changes_its_structure_and_background_only(array, step):
    value = {"core": 1, "shell": 4}[step.structure]
    before = array.copy()
    after = stepped(array, value, step, voxel_ml=0.002)
    np.testing.assert_array_equal(array, before)
    others = ~np.isin(before, (0, value))
    np.testing.assert_array_equal(after[others], before[others])
    changed = after != before
    if isinstance(step, FilledHolesSpec):
        assert (before[changed] == 0).all()
        assert (after[changed] == value).all()
    else:
        assert (before[changed] == value).all()
        assert (after[changed] == 0).all()


@given(MASKS)
def test_it_does_not_matter_how_the_array_lies(array):
    for step in STEPS[1:]:
        value = {"core": 1, "shell": 4}[step.structure]
        turned = stepped(array[::-1].transpose(2, 0, 1), value, step, voxel_ml=0.002)
        plain = stepped(array, value, step, voxel_ml=0.002)
        np.testing.assert_array_equal(turned, plain[::-1].transpose(2, 0, 1))


def test_the_largest_part_stays_and_of_equals_the_first():
    mask = np.zeros((7, 1, 1), bool)
    mask[[0, 2, 3, 5, 6]] = True
    assert np.flatnonzero(largest_component(mask)).tolist() == [2, 3]
    assert not largest_component(np.zeros((2, 2, 2), bool)).any()


def test_parts_stay_from_their_volume_on():
    mask = np.zeros((7, 1, 1), bool)
    mask[[0, 2, 3]] = True
    assert np.flatnonzero(parts_of_at_least(mask, 2)).tolist() == [2, 3]
    assert not parts_of_at_least(mask, 3).any()
    array = mask.astype(np.uint8)
    step = MinimumVolumeSpec(structure="core", volume_ml=0.004)
    assert stepped(array, 1, step, voxel_ml=0.002).sum() == 2
    assert stepped(array, 1, step, voxel_ml=0.004) is array
    assert stepped(array, 1, step, voxel_ml=0.001).sum() == 0


def test_a_hole_is_filled_but_not_with_what_is_another_structure():
    array = np.zeros((5, 5, 5), np.uint8)
    array[1:4, 1:4, 1:4] = 1
    array[2, 2, 2] = 0
    assert stepped(array, 1, STEPS[2], voxel_ml=1.0)[2, 2, 2] == 1
    array[2, 2, 2] = 4
    assert stepped(array, 1, STEPS[2], voxel_ml=1.0) is array


def test_a_hole_of_a_slice_is_a_hole_of_its_plane():
    ring = np.ones((3, 3, 1), bool)
    ring[1, 1] = False
    assert filled(ring, flat_axis=2).all()
    assert stepped(ring.astype(np.uint8).transpose(2, 0, 1), 1, STEPS[2], voxel_ml=1.0).all()
    inside_a_volume = np.zeros((5, 5, 3), np.uint8)
    inside_a_volume[1:4, 1:4, 1:2] = ring
    assert stepped(inside_a_volume, 1, STEPS[2], voxel_ml=1.0) is inside_a_volume


def test_nothing_to_do_gives_the_mask_itself():
    mask = label_map(np.zeros((3, 3, 3), np.uint8))
    assert postprocessed(mask, STEPS) is mask
    assert postprocessed(mask, (LargestComponentSpec(structure="unknown"),)) is mask


def test_steps_are_said_in_words():
    assert [step.sentence for step in STEPS] == [
        "Of core, only the largest connected part stays.",
        "Of shell, connected parts below 0.006 ml go.",
        "Holes in core are filled.",
    ]


def test_settings_are_closed():
    with pytest.raises(ValueError, match="greater than 0"):
        MinimumVolumeSpec(structure="core", volume_ml=0.0)
