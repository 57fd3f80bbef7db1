import shutil
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from medseg.errors import ConflictingFiles, DuplicateSlices
from medseg.volume import dicom_copies
from medseg.volume.dicom import find_only_series
from medseg.volume.dicom_copies import drop_copies


def slices_of(folder):
    slices = sorted(find_only_series(folder).slices, key=lambda one: one.position_mm[2])
    return slices, np.array([one.position_mm[2] for one in slices])


def test_slices_of_their_own_stay(series):
    slices, along = slices_of(series)
    assert drop_copies(slices, along) == (tuple(slices), ())
    assert drop_copies(slices[:1], along[:1]) == (tuple(slices[:1]), ())


def test_copies_under_another_name_are_dropped(series):
    for n in range(2):
        shutil.copy(series / "0002.dcm", series / f"copy{n}.dcm")
    renamed = pydicom.dcmread(series / "0004.dcm")
    renamed.SOPInstanceUID = renamed.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    renamed.save_as(series / "renamed.dcm")
    kept, (remark,) = drop_copies(*slices_of(series))
    assert len(kept) == 6
    assert remark.code == "copies"
    assert remark.text.startswith("3 copies")


def test_a_copy_in_another_transfer_syntax_is_a_copy(series):
    other = pydicom.dcmread(series / "0002.dcm")
    other.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    other.save_as(series / "rle.dcm")
    assert len(drop_copies(*slices_of(series))[0]) == 6


def test_other_pixels_are_a_conflict_or_a_duplicate(series):
    other = pydicom.dcmread(series / "0002.dcm")
    other.RescaleSlope = 2
    other.save_as(series / "other.dcm")
    with pytest.raises(ConflictingFiles, match="whose pixels differ"):
        drop_copies(*slices_of(series))
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    other.save_as(series / "other.dcm")
    with pytest.raises(DuplicateSlices, match=r"1 positions held twice, the first at -117.50 mm"):
        drop_copies(*slices_of(series))


def test_frames_of_one_file_at_one_place_are_no_copies(tmp_path, series):
    file = pydicom.dcmread(series / "0001.dcm")
    file.NumberOfFrames, file.PixelData = 3, 3 * file.PixelData
    file.save_as(tmp_path / "frames.dcm")
    with pytest.raises(DuplicateSlices, match=r"frames.dcm and frames.dcm \(frame 1\)"):
        drop_copies(*slices_of(tmp_path / "frames.dcm"))


def test_a_file_of_many_frames_is_read_once(tmp_path, series, monkeypatch):
    slices, along = slices_of(series)
    reads = []

    def frames(one):
        reads.append(one.path.name)
        return np.zeros((6, 4, 5))

    monkeypatch.setattr(dicom_copies, "stored_frames", frames)
    names = ("a.dcm", "b.dcm")
    for name in names:
        (tmp_path / name).write_text(name)
    twice = [
        replace(one, path=tmp_path / name, frame=n, sop_instance_uid=name)
        for n, one in enumerate(slices)
        for name in names
    ]
    kept, _ = drop_copies(twice, along.repeat(2))
    assert {one.path.name for one in kept} == {"a.dcm"}
    assert len(kept) == 6
    assert sorted(reads) == ["a.dcm", "b.dcm"]
