import json

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.volume.dicom import read_series, write_series
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, read_volume, write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


@pytest.fixture
def volume() -> Volume:
    values = np.random.default_rng(0).integers(0, 900, (1, 6, 7, 5)).astype(np.int16)
    return Volume(values, Geometry.from_spacing((1, 2, 5), (6, 7, 5)))


@pytest.fixture
def series(tmp_path, volume):
    write_series(volume, tmp_path / "series", patient_name="A^B", patient_id="1")
    return tmp_path / "series"


@pytest.fixture
def label_map(volume) -> LabelMap:
    array = np.zeros((6, 7, 5), np.uint8)
    array[1:4, 2:5, 1:4] = 1
    return LabelMap(array, volume.geometry, (Label(value=1, name="a"),))


def convert(*words):
    outcome = CliRunner().invoke(app, ["convert", *[str(word) for word in words], "--json"])
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def refusal(*words):
    outcome = CliRunner().invoke(app, ["convert", *[str(word) for word in words]])
    assert outcome.exit_code == 1, outcome.output
    return outcome.stderr


def test_a_series_becomes_a_nifti_and_a_series_again(tmp_path, series, volume):
    facts = convert(series, tmp_path / "a.nii.gz")
    assert facts["grid_size"] == [6, 7, 5]
    convert(tmp_path / "a.nii.gz", tmp_path / "again", "--modality", "MR")
    again = read_series(tmp_path / "again").reoriented("RAS")
    assert np.array_equal(again.array, volume.array)
    assert again.geometry.same_space(volume.geometry)


def test_an_image_is_resampled_onto_a_reference(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nii.gz")
    target = Geometry.from_spacing((2, 2, 2.5), (3, 7, 10))
    write_volume(Volume(np.zeros((1, 3, 7, 10)), target), tmp_path / "grid.mha")
    convert(tmp_path / "a.nii.gz", tmp_path / "b.nrrd", "--reference", tmp_path / "grid.mha")
    assert read_volume(tmp_path / "b.nrrd").geometry.same_space(target)


def test_an_image_on_the_reference_grid_is_left_as_it_is(tmp_path, series, volume):
    convert(series, tmp_path / "b.nii.gz", "--reference", series)
    assert read_volume(tmp_path / "b.nii.gz").array.dtype == np.int16


def test_a_mask_becomes_a_segmentation_and_a_mask_again(tmp_path, series, label_map):
    write_label_map(label_map, tmp_path / "mask.nii.gz")
    convert(tmp_path / "mask.nii.gz", tmp_path / "s.dcm", "--labels", "--reference", series)
    convert(tmp_path / "s.dcm", tmp_path / "own.nii.gz")
    assert read_label_map(tmp_path / "own.nii.gz").geometry.grid_size == (6, 7, 3)
    convert(tmp_path / "s.dcm", tmp_path / "b.nii.gz", "--reference", tmp_path / "mask.nii.gz")
    again = read_label_map(tmp_path / "b.nii.gz")
    assert np.array_equal(again.array, label_map.array)
    assert again.geometry.same_space(label_map.geometry)


def test_labels_on_another_grid_stay_labels(tmp_path, label_map):
    seven = LabelMap(label_map.array * 7, label_map.geometry, (Label(value=7, name="a"),))
    write_label_map(seven, tmp_path / "a.nii.gz")
    target = Geometry.from_spacing((0.7, 1.3, 2), (8, 9, 11))
    write_volume(Volume(np.zeros((1, 8, 9, 11)), target), tmp_path / "g.nii.gz")
    convert(
        tmp_path / "a.nii.gz",
        tmp_path / "b.nii.gz",
        "--labels",
        "--reference",
        tmp_path / "g.nii.gz",
    )
    again = read_label_map(tmp_path / "b.nii.gz")
    assert again.geometry.same_space(target)
    assert np.unique(again.array).tolist() == [0, 7]


def test_what_cannot_be_converted_is_one_sentence(tmp_path, volume, label_map):
    write_volume(volume, tmp_path / "a.nii.gz")
    write_label_map(label_map, tmp_path / "m.nii.gz")
    assert "[file-format]: A DICOM series says" in refusal(tmp_path / "a.nii.gz", tmp_path / "out")
    assert "[dicom-seg]: A DICOM-SEG or RTSTRUCT belongs" in refusal(
        tmp_path / "m.nii.gz", tmp_path / "s.dcm", "--labels"
    )
    assert "[file-format]" in refusal(tmp_path / "a.nii.gz", tmp_path / "a.xyz")
    assert "[file-missing]" in refusal(tmp_path / "nowhere.nii", tmp_path / "a.nii")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "m.nii.gz"]


def test_contours_go_out_and_come_back(tmp_path, series, label_map):
    write_label_map(label_map, tmp_path / "mask.nii.gz")
    convert(
        tmp_path / "mask.nii.gz", tmp_path / "rs.dcm", "--labels", "--reference", series,
        "--dicom", "rtstruct",
    )  # fmt: skip
    convert(tmp_path / "rs.dcm", tmp_path / "back.nii.gz", "--reference", series)
    again = read_label_map(tmp_path / "back.nii.gz").reoriented("RAS")
    assert np.array_equal(again.array, label_map.array)
    convert(tmp_path / "rs.dcm", tmp_path / "found.nii.gz")  # its series lies beside it
    assert (tmp_path / "found.nii.gz").read_bytes() == (tmp_path / "back.nii.gz").read_bytes()


@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap"])
def test_a_segmentation_is_of_the_kind_that_was_asked_for(tmp_path, series, label_map, kind):
    write_label_map(label_map, tmp_path / "mask.nii.gz")
    convert(
        tmp_path / "mask.nii.gz", tmp_path / "s.dcm", "--labels", "--reference", series,
        "--seg-type", kind,
    )  # fmt: skip
    convert(tmp_path / "s.dcm", tmp_path / "back.nii.gz", "--reference", series)
    again = read_label_map(tmp_path / "back.nii.gz").reoriented("RAS")
    assert np.array_equal(again.array, label_map.array)


def test_one_structure_can_be_taken(tmp_path, series, label_map):
    two = LabelMap(label_map.array.copy(), label_map.geometry, (Label(value=1, name="a"),
                   Label(value=2, name="b")))  # fmt: skip
    two.array[0, 0, 0] = 2
    write_label_map(two, tmp_path / "mask.nii.gz")
    convert(tmp_path / "mask.nii.gz", tmp_path / "s.dcm", "--labels", "--reference", series)
    words = (tmp_path / "s.dcm", tmp_path / "b.nii.gz", "--reference", series)
    convert(*words, "--structure", "label_2")
    assert read_label_map(tmp_path / "b.nii.gz").array.sum() == 2
    assert "[dicom-seg]" in refusal(*words, "--structure", "c")


def test_missing_slices_are_filled_when_that_is_said(tmp_path, series):
    (series / "0003.dcm").unlink()
    assert "[dicom-missing-slice]" in refusal(series, tmp_path / "a.nii.gz")
    assert not (tmp_path / "a.nii.gz").exists()
    facts = convert(series, tmp_path / "a.nii.gz", "--allow-gaps")
    assert facts["grid_size"] == [6, 7, 5]
    assert [remark["code"] for remark in facts["remarks"]] == ["gaps"]


def test_one_of_several_series_is_converted(tmp_path, series, volume):
    write_series(volume, tmp_path / "series2", patient_name="A^B", patient_id="1")
    (tmp_path / "series2").rename(series / "other")
    message = refusal(series, tmp_path / "a.nii.gz")
    assert "[dicom-mixed]" in message
    uid = message.split("UID ...")[1][:8]
    assert convert(series, tmp_path / "a.nii.gz", "--series", uid)["grid_size"] == [6, 7, 5]
