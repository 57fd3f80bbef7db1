"""A data set is copied as a whole: images, labels and what describes them."""

import numpy as np
import pytest

from medseg.dataset.copies import copy_dataset, copy_images, image_places
from medseg.dataset.description import load_description, read_case, read_case_label
from medseg.dataset.importers import open_dataset
from medseg.errors import CannotWrite


def test_the_copy_holds_the_same_voxels_in_its_own_folder(tiny_dataset, tmp_path):
    original = open_dataset(tiny_dataset)
    copy_dataset(original, tmp_path / "copy")
    copied = load_description(tmp_path / "copy")
    for case in copied.cases:
        assert all(path.is_relative_to(tmp_path / "copy") for path in (*case.images, case.label))
        there = original.case(case.id)
        assert np.array_equal(read_case(copied, case).array, read_case(original, there).array)
        label = read_case_label(copied, case).array
        assert np.array_equal(label, read_case_label(original, there).array)


def test_a_folder_that_holds_something_is_left_alone(tiny_dataset, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(CannotWrite, match="into an empty folder"):
        copy_dataset(open_dataset(tiny_dataset), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_channels_keep_their_order_and_a_series_gets_a_folder(tmp_path):
    for name in ("t1.nii.gz", "flair.nii.gz"):
        (tmp_path / name).write_bytes(name.encode())
    sources = [tmp_path / "t1.nii.gz", tmp_path / "flair.nii.gz"]
    places = image_places("case", sources, tmp_path / "out")
    copy_images(sources, places)
    assert [path.name for path in places] == ["case_0000.nii.gz", "case_0001.nii.gz"]
    assert places[0].read_bytes() == b"t1.nii.gz"
    series = [tmp_path / "2.dcm", tmp_path / "1.dcm"]
    for path in series:
        path.write_bytes(b"x")
    (folder,) = image_places("case", series, tmp_path / "out")
    copy_images(series, (folder,))
    assert sorted(path.name for path in folder.iterdir()) == ["00000_2.dcm", "00001_1.dcm"]
