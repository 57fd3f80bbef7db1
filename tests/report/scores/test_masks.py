import numpy as np
import pytest

from medseg.errors import DifferentSpace, InvalidGeometry, LabelError, UnknownFormat
from medseg.report.scores.masks import as_one_label, read_masks, read_pair, require_known
from medseg.report.scores.pairs import Pair
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


@pytest.fixture
def pair(study):
    return Pair(
        "b_shifted",
        study / "labelsTr" / "b_shifted.nii.gz",
        study / "masks" / "b_shifted.nii.gz",
    )


def moved(boxes, pair, geometry, *, resample=False):
    """The same pair with the prediction on another grid."""
    write_label_map(boxes.make_map(geometry=geometry), pair.predicted)
    return Pair(pair.case, pair.reference, pair.predicted, resample=resample)


def test_values_are_read_as_they_are_and_named_where_names_are_known(boxes, pair):
    masks = read_masks(pair, None)
    assert [label.name for label in masks.reference.labels] == ["label_1", "label_2"]
    assert not masks.resampled
    predicted, reference = read_pair(pair, None, boxes.labels[:1])
    assert [label.name for label in predicted.labels] == ["core", "label_2"]
    assert np.array_equal(reference.array, boxes.make_map().array)


def test_another_grid_is_refused_with_both_and_the_distance(boxes, pair):
    finer = Geometry.from_spacing((0.5, 1.0, 2.0), (32, 14, 8), origin_mm=(0.0, 0.0, 5.0))
    with pytest.raises(DifferentSpace) as refusal:
        read_masks(moved(boxes, pair, finer), None)
    assert str(refusal.value) == (
        "One grid must hold reference and prediction of case b_shifted. Received: "
        "prediction 32 x 14 x 8 voxels of 0.5 x 1 x 2 mm, "
        "reference 16 x 14 x 8 voxels of 1 x 1 x 2 mm, corners up to 5.02 mm apart. "
        "Pass --resample to bring predictions onto the grids of their references, by a vote."
    )


def test_resampling_brings_it_onto_the_grid_of_the_reference(boxes, pair):
    fine = boxes.make_map()
    doubled = LabelMap(
        fine.array.repeat(2, 0).repeat(2, 1).repeat(2, 2),
        Geometry.from_spacing((0.5, 0.5, 1.0), (32, 28, 16), origin_mm=(-0.25, -0.25, -0.5)),
        boxes.labels,
    )
    write_label_map(doubled, pair.predicted)
    masks = read_masks(Pair(pair.case, pair.reference, pair.predicted, resample=True), None)
    assert masks.resampled
    assert masks.predicted.geometry.same_space(masks.reference.geometry)
    assert np.array_equal(masks.predicted.array, masks.reference.array)


def test_resampling_what_lies_elsewhere_is_refused(boxes, pair):
    far = Geometry.from_spacing((1.0, 1.0, 2.0), (16, 14, 8), origin_mm=(0.0, 500.0, 0.0))
    with pytest.raises(DifferentSpace, match=r"case b_shifted.*no place in common.*500 mm apart"):
        read_masks(moved(boxes, pair, far, resample=True), None)


def test_objects_become_one_label(pair):
    masks = as_one_label(read_masks(pair, None), 7)
    assert set(np.unique(masks.reference.array)) == {0, 7}
    assert [label.value for label in masks.predicted.labels] == [7]
    assert as_one_label(masks, None) is masks


def test_a_value_without_a_name_is_told_with_its_mask(boxes, pair):
    masks = read_masks(pair, None)
    require_known(masks, {1, 2}, boxes.labels, "b")
    with pytest.raises(LabelError) as refusal:
        require_known(masks, {1}, boxes.labels[:1], "b_shifted")
    assert str(refusal.value) == (
        "Each value of a mask is one that the labels know; 0 is background. Received: values 2 in "
        "the prediction of case b_shifted; known are 1 core. Name them with --labels, or repair "
        "the mask."
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (0.5, "must hold whole label values. Received: fractions in 1 voxels, such as 0.5. Round"),
        (np.nan, "must hold whole label values. Received: 1 voxels that are no number (NaN or inf"),
    ],
)
def test_fractions_and_nan_are_told_apart(boxes, pair, change, text):
    array = boxes.make_map().array[np.newaxis].astype(np.float32)
    array[0, 0, 0, 0] = change
    write_volume(Volume(array, boxes.geometry), pair.predicted)
    with pytest.raises(LabelError) as refusal:
        read_masks(pair, None)
    assert text in str(refusal.value)


def test_whole_numbers_in_floating_point_are_a_mask(boxes, pair):
    array = boxes.make_map().array[np.newaxis].astype(np.float32)
    write_volume(Volume(array, boxes.geometry), pair.predicted)
    assert read_masks(pair, None).predicted.array.dtype == np.uint8


def test_a_mask_of_four_axes_is_refused(boxes, pair):
    array = np.repeat(boxes.make_map().array[np.newaxis], 3, axis=0)
    write_volume(Volume(array, boxes.geometry, ("a", "b", "c")), pair.predicted)
    with pytest.raises(
        LabelError, match=r"one label value in each voxel\. Received: 3 channels\. Join"
    ):
        read_masks(pair, None)


def test_several_times_of_several_channels_are_refused(pair):
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2, 2), np.uint8), np.eye(4)), pair.predicted)
    with pytest.raises(UnknownFormat, match=r"three axes of space.*4 x 4 x 4 x 2 x 2"):
        read_masks(pair, None)


def test_a_spacing_of_zero_is_refused(boxes, pair):
    import nibabel as nib

    affine = np.diag([1.0, 0.0, 2.0, 1.0])
    image = nib.Nifti1Image(boxes.make_map().array, None)
    image.header.set_sform(affine, code=1)
    nib.save(image, pair.predicted)
    with pytest.raises(InvalidGeometry, match=r"must span space\. Received: axis lengths \(1.0, 0"):
        read_masks(pair, None)


def test_names_that_clash_leave_the_values(pair):
    clash = (Label(value=1, name="label_2"),)
    predicted, _ = read_pair(pair, None, clash)
    assert [label.name for label in predicted.labels] == ["label_1", "label_2"]
