"""What the user points at becomes cases with the right names."""

from contextlib import nullcontext

import numpy as np
import pytest
from small import make_volume

from medseg.errors import MissingPath, NoDicom, UnknownFormat, UnreadableFile
from medseg.inference.inputs import find_inputs
from medseg.volume.dicom import find_series, write_series
from medseg.volume.io import write_volume


class Notes:
    def __init__(self):
        self.notes = []

    def task(self, what, total):
        return nullcontext(self)

    def note(self, message):
        self.notes.append(message)


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def names(cases):
    return [(case.id, [path.name for path in case.images]) for case in cases]


def series(folder, **words):
    words = {"patient_name": "Doe^Jane", "patient_id": "1"} | words
    write_series(make_volume((8, 9, 4)), folder, **words)
    return folder


def test_channels_are_grouped_and_the_rest_stands_alone(tmp_path):
    folder = touch(
        tmp_path / "in", "a_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz", "c.nii.gz", "notes.txt"
    )
    assert names(find_inputs([folder])) == [
        ("a", ["a_0000.nii.gz", "a_0001.nii.gz"]),
        ("b", ["b_0000.nii.gz"]),
        ("c", ["c.nii.gz"]),
    ]


def test_numbers_that_do_not_count_from_zero_are_no_channels(tmp_path):
    folder = touch(tmp_path / "in", "scan_2019.png", "scan_2020.png", "x_0000.png", "x_0002.png")
    assert [name for name, _ in names(find_inputs([folder]))] == [
        "scan_2019", "scan_2020", "x_0000", "x_0002",
    ]  # fmt: skip


def test_channels_may_have_names(tmp_path):
    folder = touch(
        tmp_path, "b_2013_p1_0000_flair.nii.gz", "b_2013_p1_0001_t1c.nii.gz", "b_2013_p1_seg.nii.gz"
    )
    progress = Notes()
    assert names(find_inputs([folder], progress=progress)) == [
        ("b_2013_p1", ["b_2013_p1_0000_flair.nii.gz", "b_2013_p1_0001_t1c.nii.gz"]),
    ]
    assert progress.notes == ["Left aside, 1 label file beside the images: b_2013_p1_seg.nii.gz."]


def test_labels_beside_their_images_are_no_cases(tmp_path):
    folder = touch(tmp_path, "a.tif", "a_mask.tif", "img_7.png", "gt_7.png", "seg_9.png")
    progress = Notes()
    found = find_inputs([folder], progress=progress)
    assert [case.id for case in found] == ["a", "img_7", "seg_9"]
    assert progress.notes == ["Left aside, 2 label files beside the images: a_mask.tif, ...."]


def test_a_label_that_is_named_or_alone_is_a_case(tmp_path):
    touch(tmp_path / "masks", "a_mask.tif", "b_mask.tif")
    assert len(find_inputs([tmp_path / "masks"])) == 2
    touch(tmp_path, "a.tif", "a_mask.tif")
    assert len(find_inputs([tmp_path / "a.tif", tmp_path / "a_mask.tif"])) == 2


def test_no_file_is_lost_where_two_claim_one_channel(tmp_path):
    folder = touch(tmp_path, "a_0000_t1.png", "a_0000_t2.png", "a_0001.png")
    assert [name for name, _ in names(find_inputs([folder]))] == ["a", "a_0000_t2"]


def test_a_hidden_file_is_no_case(tmp_path):
    folder = touch(tmp_path / "in", "._a.nii.gz", ".DS_Store", "a.nii.gz")
    assert [case.id for case in find_inputs([folder])] == ["a"]


def test_equal_names_get_a_number_and_it_is_said(tmp_path):
    one = touch(tmp_path / "one", "a.nii.gz")
    two = touch(tmp_path / "two", "a.nii.gz", "A.png")
    progress = Notes()
    found = find_inputs([one, two], progress=progress)
    assert [case.id for case in found] == ["a", "A-2", "a-3"]
    assert len(progress.notes) == 2
    assert "becomes a-3" in progress.notes[1]


def test_dicom_is_named_by_its_folder(tmp_path):
    series(tmp_path / "study" / "13 Crop: T1")
    (case,) = find_inputs([tmp_path / "study"])
    assert case.id == "13_Crop_T1"
    assert case.series is not None
    assert case.read().array.shape == (1, 8, 9, 4)


def test_series_of_one_folder_are_named_by_description_and_uid(tmp_path):
    series(tmp_path / "a", series_description="T1 axial")
    series(tmp_path / "b", series_description="T1 axial")
    flat = tmp_path / "flat"
    flat.mkdir()
    for n, path in enumerate(sorted(tmp_path.glob("[ab]/*"))):
        path.rename(flat / f"{n}.dcm")
    found = find_inputs([flat])
    assert len({case.id for case in found}) == 2
    assert all(case.id == f"T1_axial_{case.series.uid.replace('.', '')[-6:]}" for case in found)


def test_a_broken_header_spoils_its_own_folder_only(tmp_path, monkeypatch):
    series(tmp_path / "study" / "good")
    bad = series(tmp_path / "study" / "bad")

    def find(folder):
        if folder != tmp_path / "study" / "good":
            raise UnreadableFile("Files are whole.", received=str(bad))
        return find_series(folder)

    monkeypatch.setattr("medseg.volume.dicom.find_series", find)
    cases = {case.id: case for case in find_inputs([tmp_path / "study"])}
    assert set(cases) == {"good", "bad"}
    assert cases["good"].read().array.any()
    with pytest.raises(UnreadableFile, match="Files are whole"):
        cases["bad"].read()


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: touch(p, "readme.txt")])
def test_a_folder_without_images_is_said(tmp_path, make):
    make(tmp_path / "in")
    with pytest.raises((MissingPath, NoDicom), match="neither in"):
        find_inputs([tmp_path / "in"])


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(MissingPath, match="nothing at"):
        find_inputs([tmp_path / "in"])


def test_a_file_that_is_no_image_is_said(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(UnknownFormat, match=r"notes\.txt"):
        find_inputs([tmp_path / "notes.txt"])


def test_channels_are_read_in_order(tmp_path):
    volume = make_volume()
    for n in range(2):
        scaled = type(volume)(volume.array * (n + 1), volume.geometry)
        write_volume(scaled, tmp_path / f"a_000{n}.nii.gz")
    (case,) = find_inputs([tmp_path])
    array = case.read().array
    np.testing.assert_allclose(array[1], 2 * array[0])
