"""Corrected DICOM-SEG files are taken back by the series that they refer to."""

import numpy as np
import pytest
from test_dicom_pairs import LIVER, SPLEEN, add

from medseg.dataset.description import (
    load_description,
    read_case,
    read_case_label,
    save_description,
)
from medseg.dataset.dicom_pairs import import_dataset
from medseg.dataset.update import update_labels
from medseg.errors import LabelError
from medseg.volume.dicom import find_only_series, read_series_geometry
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


@pytest.fixture
def data(tmp_path):
    add(tmp_path / "raw", "p1", write_segmentation, [LIVER, SPLEEN])
    add(tmp_path / "raw", "p22", write_structures, [LIVER, SPLEEN])
    described = import_dataset(tmp_path / "raw", tmp_path / "data")
    save_description(described, tmp_path / "data")
    return tmp_path / "data"


def correct(tmp_path, patient, labels):
    """A DICOM-SEG of a series with the n-th structure in slice n + 2, under a name of its own."""
    series = find_only_series(tmp_path / "raw" / patient / "scan")
    array = np.zeros((6, 5, 4), np.uint8)
    for n, label in enumerate(labels):
        array[1:5, 1:4, n + 2] = label.value
    mask = LabelMap(array, read_series_geometry(series), tuple(labels))
    write_segmentation(mask, series, tmp_path / "back" / "x.dcm", algorithm="t", version="1")


@pytest.mark.parametrize("patient", ["p1", "p22"])
def test_it_goes_to_its_own_case_whatever_it_is_called(data, tmp_path, patient):
    correct(tmp_path, patient, [LIVER, SPLEEN])
    assert update_labels(data, tmp_path / "back").relabelled == (patient,)
    described = load_description(data)
    array = read_case_label(described, described.case(patient)).array
    assert (array[1:5, 1:4, 2] == 1).all()
    assert (array[1:5, 1:4, 3] == 2).all()
    assert not array[..., :2].any()


def test_a_structure_that_the_data_do_not_have_is_refused(data, tmp_path):
    correct(tmp_path, "p1", [LIVER, Label(value=2, name="kidney")])
    with pytest.raises(LabelError, match="p1: kidney"):
        update_labels(data, tmp_path / "back")


def test_a_new_series_comes_with_all_its_slices(data, tmp_path):
    add(tmp_path / "pool", "p333", write_segmentation, [LIVER])
    series = find_only_series(tmp_path / "pool" / "p333" / "scan")
    done = update_labels(data, tmp_path / "pool" / "p333" / "drawn", images={"p333": series.paths})
    assert done.added == ("p333",)
    described = load_description(data)
    case = described.case("p333")
    assert len(list(case.images[0].iterdir())) == len(series.paths)
    assert read_case(described, case).geometry.same_space(read_series_geometry(series))
    assert (read_case_label(described, case).array[1:5, 1:4, 0] == 1).all()
