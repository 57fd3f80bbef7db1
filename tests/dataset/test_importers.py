"""Every known layout opens; every other folder is refused with what was found."""

from pathlib import Path

import pytest

from medseg.dataset.description import read_case, read_case_label
from medseg.dataset.importers import open_dataset
from medseg.errors import DatasetError


def test_msd(tiny_dataset):
    description = open_dataset(tiny_dataset)
    assert description.name == "Phantom"
    assert [case.id for case in description.cases] == [f"phantom_{n:03d}" for n in range(6)]
    assert [case.id for case in description.unlabelled] == ["phantom_006"]
    assert [(label.value, label.name) for label in description.labels] == [
        (1, "ball"),
        (2, "shell"),
    ]
    assert description.channels[0].modality == "MR"
    assert description.licence == "CC0"


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
def test_real_folders(data_root: Path, folder, cases, channels, values):
    description = open_dataset(data_root / folder)
    assert len(description.cases) == cases
    assert list(description.channel_names) == channels
    assert [label.value for label in description.labels] == values
    case = description.cases[0]
    volume, labels = read_case(description, case), read_case_label(description, case)
    assert volume.array.shape[0] == len(channels)
    assert volume.geometry.same_space(labels.geometry)


def test_an_unknown_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DatasetError, match=r"1 files \.txt.*Known are: a folder with"):
        open_dataset(tmp_path)
