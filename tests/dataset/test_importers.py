"""Real folders open; a folder in no known layout is refused with what was found."""

from pathlib import Path

import pytest

from medseg.dataset.description import save_description
from medseg.dataset.importers import open_dataset
from medseg.errors import DatasetError, MissingPath


def ids(description) -> list[str]:
    return [case.id for case in description.cases]


def test_a_described_data_set_comes_first(tiny_dataset):
    renamed = open_dataset(tiny_dataset).model_copy(update={"name": "mine"})
    save_description(renamed, tiny_dataset)
    assert open_dataset(tiny_dataset).name == "mine"
    assert open_dataset(tiny_dataset / "dataset.json").name == "Phantom"


def test_an_unknown_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a").mkdir()
    with pytest.raises(
        DatasetError, match=r"1 folder \(a\), 1 file \.txt.*Known are: a folder with"
    ):
        open_dataset(tmp_path)


def test_images_without_labels_are_refused(scans):
    with pytest.raises(DatasetError, match="no label file among them"):
        open_dataset(scans("a.nii.gz", "b.nii.gz"))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="an empty folder"):
        open_dataset(tmp_path)


def test_nothing_is_refused(tmp_path):
    with pytest.raises(MissingPath, match="nothing at"):
        open_dataset(tmp_path / "none")


def test_any_other_file_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(DatasetError, match="must describe a data set"):
        open_dataset(tmp_path / "x.txt")


# Real folders


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "cases", "channels", "values"),
    [
        ("Task04_Hippocampus", 180, ["MRI"], [1, 2]),
        ("nuclei_2d", 18, ["red", "green", "blue"], [1]),
        ("em_membrane_2d", 7, ["image"], [255]),
        ("brats2013_crop", 1, ["flair", "t1c"], [1, 2, 3, 4]),
        ("lgg_2d_multichannel", 24, ["red", "green", "blue"], [255]),
    ],
)
def test_real_folders(data_root: Path, folder, cases, channels, values, opens):
    description = opens(data_root / folder)
    assert len(description.cases) == cases
    assert list(description.channel_names) == channels
    assert [label.value for label in description.labels] == values
    assert description.instances == (folder == "nuclei_2d")


@pytest.mark.data
def test_real_patients(data_root: Path):
    description = open_dataset(data_root / "lgg_2d_multichannel")
    assert len({case.patient for case in description.cases}) == 8
    assert description.cases[0].patient == "TCGA_CS_5396_20010302"


@pytest.mark.data
def test_real_channels_on_own_grids(data_root: Path):
    description = open_dataset(data_root / "sts_petct_mr" / "nifti")
    assert ids(description) == ["STS_019", "STS_025"]
    assert [channel.modality for channel in description.channels] == ["CT", "MR", "PT"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("cxr_2d", r"overlapping masks cannot become one.*airways and cardiomediastinum share"),
        ("ct_totalseg", r"2 for case example: example_seg.nii.gz, example_seg_dicom.nii.gz"),
        ("dicom_messy_folder", "no label file among them"),
        ("dicom_odd", "no label file among them"),
    ],
)
def test_real_folders_that_are_refused(data_root: Path, folder, message):
    with pytest.raises(DatasetError, match=message):
        open_dataset(data_root / folder)
