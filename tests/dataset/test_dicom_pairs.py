"""Series with a DICOM-SEG or RTSTRUCT each become a data set."""

import shutil

import numpy as np
import pytest

from medseg.dataset.description import read_case, read_case_label
from medseg.dataset.dicom_pairs import find_pairs, import_dataset
from medseg.errors import DatasetError
from medseg.volume.dicom import find_only_series, read_series_geometry, write_series
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LIVER, SPLEEN = Label(value=1, name="liver"), Label(value=2, name="spleen")


def add(root, patient, writer, labels, *, modality="CT", file="m.dcm"):
    """A series in PATIENT/scan and its labels in PATIENT/drawn; the n-th fills slice n."""
    values = np.random.default_rng(len(patient)).integers(0, 90, (1, 6, 5, 4)).astype(np.int16)
    folder = root / patient / "scan"
    write_series(
        Volume(values, Geometry.from_spacing((1.0, 2.0, 3.0), (6, 5, 4))), folder,
        modality=modality, patient_name="A^B", patient_id=patient,
    )  # fmt: skip
    series = find_only_series(folder)
    array = np.zeros((6, 5, 4), np.uint8)
    for k, label in enumerate(labels):
        array[1:5, 1:4, k] = label.value
    mask = LabelMap(array, read_series_geometry(series), tuple(labels))
    writer(mask, series, root / patient / "drawn" / file, algorithm="t", version="1")
    return mask


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "raw"
    add(root, "p1", write_segmentation, [LIVER, SPLEEN])
    add(root, "p22", write_structures, [LIVER, SPLEEN])
    return root


def test_every_labelled_series_becomes_a_case(raw, tmp_path):
    described = import_dataset(raw, tmp_path / "out")
    assert [case.id for case in described.cases] == ["p1", "p22"]
    assert [case.patient for case in described.cases] == ["p1", "p22"]
    assert [(x.value, x.name) for x in described.labels] == [(1, "liver"), (2, "spleen")]
    assert [(x.name, x.modality) for x in described.channels] == [("CT", "CT")]
    for case in described.cases:
        image, labels = read_case(described, case), read_case_label(described, case)
        assert labels.geometry.same_space(image.geometry)
        assert (labels.array[1:5, 1:4, 0] == 1).all()
        assert (labels.array[1:5, 1:4, 1] == 2).all()
        assert labels.array.astype(bool).sum() == 24


def test_values_are_given_by_name_where_files_disagree(raw, tmp_path):
    add(raw, "p333", write_segmentation, [Label(value=1, name="spleen")])
    described = import_dataset(raw, tmp_path / "out")
    assert [(x.value, x.name) for x in described.labels] == [(1, "liver"), (2, "spleen")]
    third = read_case_label(described, described.case("p333"))
    assert set(np.unique(third.array)) == {0, 2}
    assert any("liver is described in 2 of 3 cases" in note for note in described.notes)


def test_structures_can_be_chosen(raw, tmp_path):
    described = import_dataset(raw, tmp_path / "out", structures=["spleen"])
    assert [x.name for x in described.labels] == ["spleen"]
    for case in described.cases:
        assert read_case_label(described, case).array.astype(bool).sum() == 12
    with pytest.raises(DatasetError, match="no kidney among liver, spleen"):
        import_dataset(raw, tmp_path / "other", structures=["kidney"])
    assert not (tmp_path / "other").exists()


def test_other_layouts_are_described_as_before(tmp_path):
    grid = Geometry.from_spacing((1, 1, 1), (4, 4, 4))
    write_volume(Volume(np.ones((1, 4, 4, 4)), grid), tmp_path / "raw/images/a.nii.gz")
    mask = LabelMap(np.ones((4, 4, 4), np.uint8), grid, (LIVER,))
    write_label_map(mask, tmp_path / "raw/labels/a.nii.gz")
    described = import_dataset(tmp_path / "raw", tmp_path / "out")
    assert [case.id for case in described.cases] == ["a"]
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="medseg dataset import"):
        import_dataset(tmp_path / "empty", tmp_path / "out")


def test_two_label_files_of_one_series_are_refused(raw, tmp_path):
    shutil.copy(raw / "p1/drawn/m.dcm", raw / "p1/drawn/second.dcm")
    with pytest.raises(DatasetError, match=r"m.dcm and second.dcm for CT"):
        import_dataset(raw, tmp_path / "out")


def test_series_of_one_folder_or_of_two_modalities_are_refused(raw, tmp_path):
    add(raw, "p4444", write_segmentation, [LIVER], modality="MR")
    with pytest.raises(DatasetError, match="of one modality"):
        import_dataset(raw, tmp_path / "out")
    for path in (raw / "p4444/scan").iterdir():
        shutil.copy(path, raw / "p1/scan" / f"x{path.name}")
    with pytest.raises(DatasetError, match="in a folder of its own"):
        find_pairs(raw)


def test_labels_whose_series_is_not_there_are_passed_over(raw):
    shutil.rmtree(raw / "p1" / "scan")
    assert [pair.id for pair in find_pairs(raw)] == ["p22"]


@pytest.mark.data
def test_a_real_structure_set_becomes_a_case(data_root, tmp_path):
    import nibabel as nib

    described = import_dataset(data_root / "sts_petct_mr/dicom", tmp_path / "out")
    (case,) = described.cases
    assert (case.id, described.channel_names) == ("STS_025", ("SUV",))
    ours = read_case_label(described, case).reoriented("LPS")
    truth = nib.load(data_root / "sts_petct_mr/nifti/STS_025/PET_mask.nii.gz")
    assert np.array_equal(ours.array > 0, np.asarray(truth.dataobj) > 0)
