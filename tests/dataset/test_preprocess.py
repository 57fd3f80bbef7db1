"""One case to the grid and the intensities of a plan."""

import numpy as np
import pytest
from planning import CPU_QUARTER, make_fingerprint

from medseg.dataset.plan import ClipAndScale, Plan, ZScore, make_plan
from medseg.dataset.preprocess import preprocess
from medseg.errors import DatasetError, DifferentSpace, LabelError, WrongInput
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="ball"), Label(value=2, name="shell"))


def make_test_plan(**changes) -> Plan:
    """A plan for 1 x 1 x 1.5 mm, the phantom's own spacing."""
    size, spacing_mm = ((12, 14, 10),) * 4, ((1.0, 1.0, 1.5),) * 4
    plan = make_plan(make_fingerprint(spacing_mm, size, names=("ball", "shell")), CPU_QUARTER)
    return plan.model_copy(update=changes)


def test_a_case_on_the_plan_s_grid_is_only_standardised(phantom):
    volume, labels = phantom(0)
    ready = preprocess(volume, labels, make_test_plan())
    expected = (volume.array - volume.array.mean()) / volume.array.std()
    np.testing.assert_allclose(ready.image, expected, atol=1e-4)
    np.testing.assert_array_equal(ready.labels, labels.array)
    assert ready.geometry == ready.original == volume.geometry
    assert ready.image.dtype == np.float32
    assert ready.labels.dtype == np.uint8


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SRA", "IPL", "ASR"])
def test_the_orientation_of_the_file_does_not_matter(phantom, orientation):
    volume, labels = phantom(1)
    plan = make_test_plan(crop_to_nonzero=True)
    straight = preprocess(volume, labels, plan)
    turned = preprocess(volume.reoriented(orientation), labels.reoriented(orientation), plan)
    np.testing.assert_allclose(turned.image, straight.image, atol=1e-5)
    np.testing.assert_array_equal(turned.labels, straight.labels)
    assert turned.geometry.same_space(straight.geometry)
    assert turned.original.orientation == orientation


def test_image_and_label_may_be_stored_in_different_orders_of_axes(phantom):
    volume, labels = phantom(1)
    plan = make_test_plan()
    ready = preprocess(volume.reoriented("LPS"), labels.reoriented("LAS"), plan)
    np.testing.assert_array_equal(ready.labels, labels.array)


def test_a_plan_may_turn_cases(phantom):
    volume, labels = phantom(2)
    ready = preprocess(volume, labels, make_test_plan(orientation="ASR", spacing_mm=(1, 1.5, 1)))
    assert ready.geometry.orientation == "ASR"
    assert ready.geometry.grid_size == (14, 10, 12)
    np.testing.assert_array_equal(ready.labels, labels.array.transpose(1, 2, 0))


def test_resampling_keeps_the_field_of_view_and_the_structures(phantom):
    volume, labels = phantom(3, grid=(24, 24, 24), spacing_mm=(1, 1, 1))
    ready = preprocess(volume, labels, make_test_plan(spacing_mm=(0.5, 0.75, 2.0)))
    assert ready.geometry.grid_size == (48, 32, 12)
    assert ready.labels.shape == ready.image.shape[1:] == (48, 32, 12)
    extent = np.array(ready.geometry.grid_size) * ready.geometry.spacing_mm
    np.testing.assert_allclose(extent, (24, 24, 24))
    for n in (1, 2):
        before = (labels.array == n).sum() * volume.geometry.voxel_volume_ml
        after = (ready.labels == n).sum() * ready.geometry.voxel_volume_ml
        assert after == pytest.approx(before, rel=0.25)


def test_structures_stay_on_their_image(phantom):
    volume, labels = phantom(4, grid=(20, 20, 20), spacing_mm=(1, 1, 1))
    ready = preprocess(volume, labels, make_test_plan(spacing_mm=(0.7, 0.7, 1.4)))
    means = [ready.image[0][ready.labels == n].mean() for n in (0, 1, 2)]
    assert means == sorted(means)


def test_rounded_spacings_are_not_resampled(phantom):
    volume, labels = phantom(5, spacing_mm=(1.0000004, 0.9999, 1.503))
    ready = preprocess(volume, labels, make_test_plan())
    assert ready.geometry == volume.geometry


def test_empty_borders_are_cut_off(phantom):
    volume, labels = phantom(6)
    array = np.zeros_like(volume.array)
    array[:, 2:10, 3:12, 1:9] = volume.array[:, 2:10, 3:12, 1:9]
    bordered = Volume(array, volume.geometry)
    ready = preprocess(bordered, labels, make_test_plan(crop_to_nonzero=True))
    assert ready.geometry.grid_size == (8, 9, 8)
    np.testing.assert_allclose(ready.geometry.origin_mm, (2, 3, 1.5))
    np.testing.assert_array_equal(ready.labels, labels.array[2:10, 3:12, 1:9])
    kept = preprocess(bordered, labels, make_test_plan(crop_to_nonzero=False))
    assert kept.geometry == volume.geometry


@pytest.mark.parametrize("inside", [False, True])
def test_an_empty_image_is_all_0(phantom, inside):
    volume, _ = phantom(7)
    empty = Volume(np.zeros_like(volume.array), volume.geometry)
    plan = make_test_plan(crop_to_nonzero=True, normalisations=(ZScore(inside_nonzero=inside),))
    ready = preprocess(empty, None, plan)
    assert ready.labels is None
    assert ready.geometry == volume.geometry
    assert not ready.image.any()


def test_a_2d_plan_leaves_slices_alone(phantom):
    volume, labels = phantom(8, spacing_mm=(1, 1, 5))
    plan = make_test_plan(config="2d", spacing_mm=(2.0, 2.0, 1.0))
    ready = preprocess(volume, labels, plan)
    assert ready.geometry.grid_size == (6, 7, 10)
    assert ready.geometry.spacing_mm == pytest.approx((2, 2, 5))


def test_no_ringing_across_thick_slices():
    array = np.zeros((1, 16, 16, 8), dtype=np.float32)
    array[..., 4:] = 100
    volume = Volume(array, Geometry.from_spacing((1, 1, 6), (16, 16, 8)))
    how = (ClipAndScale(low=-1e9, high=1e9, mean=0, std=1),)
    ready = preprocess(volume, None, make_test_plan(spacing_mm=(1, 1, 3), normalisations=how))
    assert ready.image.shape == (1, 16, 16, 16)
    assert ready.image.min() >= -1e-3
    assert ready.image.max() <= 100 + 1e-3


def test_values_of_files_become_classes(phantom):
    volume, labels = phantom(9)
    far = (Label(value=7, name="ball"), Label(value=900, name="shell"))
    values = np.array([0, 7, 900], dtype=np.int32)[labels.array]
    ready = preprocess(volume, LabelMap(values, volume.geometry, far), make_test_plan(labels=far))
    np.testing.assert_array_equal(ready.labels, labels.array)


def test_channels_are_standardised_one_by_one(phantom):
    volume, labels = phantom(10)
    both = Volume(
        np.concatenate([volume.array, volume.array * 1000 + 5]), volume.geometry, ("a", "b")
    )
    plan = make_plan(make_fingerprint(modalities=("MR", "MR")), CPU_QUARTER)
    ready = preprocess(both, labels, plan.model_copy(update={"spacing_mm": (1, 1, 1.5)}))
    np.testing.assert_allclose(ready.image[0], ready.image[1], atol=1e-4)


def test_another_number_of_channels_is_refused(phantom):
    volume, _ = phantom(0)
    both = Volume(np.concatenate([volume.array] * 2), volume.geometry, ("a", "b"))
    with pytest.raises(WrongInput, match=r"1 channels of the plan: c0.*2 channels in the case"):
        preprocess(both, None, make_test_plan())


def test_another_grid_of_the_label_is_refused(phantom):
    volume, _ = phantom(0)
    _, labels = phantom(0, grid=(12, 14, 11))
    with pytest.raises(DifferentSpace, match=r"image and label.*10.*against.*11"):
        preprocess(volume, labels, make_test_plan())


def test_a_structure_that_the_plan_does_not_know_is_refused(phantom):
    volume, labels = phantom(0)
    with pytest.raises(LabelError, match=r"value 2 \(shell\)"):
        preprocess(volume, labels, make_test_plan(labels=LABELS[:1]))


def test_a_value_that_is_no_number_is_refused(phantom):
    volume, labels = phantom(0)
    array = volume.array.copy()
    array[0, 1, 2, 3] = np.nan
    with pytest.raises(DatasetError, match="1 voxels of 1680"):
        preprocess(Volume(array, volume.geometry), labels, make_test_plan())


def test_the_volume_itself_is_left_alone(phantom):
    volume, labels = phantom(0)
    before = volume.array.copy(), labels.array.copy()
    preprocess(volume, labels, make_test_plan(crop_to_nonzero=True))
    np.testing.assert_array_equal(volume.array, before[0])
    np.testing.assert_array_equal(labels.array, before[1])


def test_ignored_voxels_become_the_class_after_the_last(phantom):
    volume, labels = phantom(0)
    array = labels.array.copy()
    array[:3] = 7
    known = (*LABELS, Label(value=7, name="ignore"))
    scribbled = LabelMap(array, labels.geometry, known)
    plan = make_test_plan(ignored_value=7)
    ready = preprocess(volume, scribbled, plan)
    assert plan.ignored_class == 3
    np.testing.assert_array_equal(ready.labels == 3, array == 7)
    np.testing.assert_array_equal(ready.labels[3:], labels.array[3:])
    with pytest.raises(LabelError, match="structures of the plan only"):
        preprocess(volume, scribbled, make_test_plan())


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLA"])
def test_axes_may_be_those_of_the_file(phantom, orientation):
    plan = make_test_plan(keeps_axes=True, conventions="nnunet", orientation="RSA")
    volume, labels = phantom(0)
    case = preprocess(volume.reoriented(orientation), labels.reoriented("RAS"), plan)
    letters = [orientation[0], orientation[2], orientation[1]]
    assert case.geometry.orientation == "".join(letters)


def test_black_voxels_within_a_head_count_by_nnu_net_s_conventions():
    array = np.zeros((1, 6, 6, 6), np.float32)
    array[0, 1:5, 1:5, 1:5] = np.arange(64, dtype=np.float32).reshape(4, 4, 4) + 1
    array[0, 2, 2, 2] = 0
    volume = Volume(array, Geometry(np.eye(4), (6, 6, 6)), ("image",))
    ways = (ZScore(inside_nonzero=True),)
    facts = {"normalisations": ways, "crop_to_nonzero": False, "spacing_mm": (1.0, 1.0, 1.0)}
    ours = preprocess(volume, None, make_test_plan(**facts)).image[0]
    theirs = preprocess(volume, None, make_test_plan(**facts, conventions="nnunet")).image[0]
    inside = array[0, 1:5, 1:5, 1:5]
    assert ours[2, 2, 2] == 0
    assert theirs[2, 2, 2] == pytest.approx((0 - inside.mean()) / inside.std(), abs=1e-5)
    assert theirs[0, 0, 0] == 0


def test_nnu_net_resamples_what_differs_by_rounding():
    size = (150, 12, 8)
    volume = Volume(np.ones((1, *size), np.float32), Geometry(np.eye(4), size), ("image",))
    near = {"spacing_mm": (1.004, 1.0, 1.0)}
    assert preprocess(volume, None, make_test_plan(**near)).geometry.grid_size == size
    moved = preprocess(volume, None, make_test_plan(**near, conventions="nnunet"))
    assert moved.geometry.grid_size == (149, 12, 8)
