import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import (
    CannotWrite,
    DifferentSpace,
    LabelError,
    MissingPath,
    NoDicom,
    UnknownFormat,
    UnreadableFile,
)
from medseg.volume.geometry import Geometry, picture_geometry
from medseg.volume.io import (
    is_image_file,
    read_geometry,
    read_label_map,
    read_volume,
    stem_of,
    write_label_map,
    write_volume,
)
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd", ".tif")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("case.nii.gz", "case"),
        ("case.v2.NII.GZ", "case.v2"),
        ("a.seg.nrrd", "a.seg"),
        ("x.png", "x"),
        ("x.txt", "x.txt"),
        (".nii.gz", ".nii.gz"),
    ],
)
def test_stems_lose_the_image_suffix_only(name, stem):
    assert stem_of(Path("folder") / name) == stem


def test_image_files_are_told_by_name():
    assert is_image_file(Path("a.nii.gz"))
    assert is_image_file(Path("A.PNG"))
    assert not is_image_file(Path("._a.nii.gz"))
    assert not is_image_file(Path(".DS_Store"))
    assert not is_image_file(Path("dataset.json"))


def test_several_files_are_channels(tmp_path, volume):
    for name in ("t1", "t2"):
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    paths = [tmp_path / "t1.nii.gz", tmp_path / "t2.nii.gz"]
    both = read_volume(paths, channel_names=("T1", "T2"))
    assert both.array.shape == (2, *volume.geometry.grid_size)
    assert both.channel_names == ("T1", "T2")
    assert both.source.paths == tuple(paths)
    assert read_volume(paths).channel_names == ("channel_0", "channel_1")


def test_channels_share_one_grid(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nii.gz")
    moved = Geometry(volume.geometry.affine + np.eye(4, k=3), volume.geometry.grid_size)
    write_volume(Volume(volume.array, moved), tmp_path / "b.nii.gz")
    with pytest.raises(DifferentSpace, match=r"channels a.nii.gz and b.nii.gz.*1 mm apart"):
        read_volume([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])


def test_a_dicom_folder_and_a_file_can_be_channels_together(tmp_path, series, volume):
    write_volume(read_volume(series), tmp_path / "b.nii.gz")
    both = read_volume([series, tmp_path / "b.nii.gz"])
    assert np.array_equal(both.array[0], both.array[1])
    assert read_geometry(series).same_space(volume.geometry)
    slice_file = next(series.iterdir())
    slice_file = slice_file.rename(slice_file.with_suffix(""))
    assert read_volume(slice_file).geometry.is_2d


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_label_maps_are_written_in_the_smallest_type(tmp_path, suffix):
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6) % 3
    for largest, dtype in ((2, np.uint8), (300, np.uint16)):
        array = np.where(values == 2, largest, values)
        labels = (Label(value=1, name="a"), Label(value=largest, name="b"))
        geometry = Geometry.from_spacing((1, 2, 3), (4, 5, 6))
        write_label_map(LabelMap(array, geometry, labels), tmp_path / f"a{suffix}")
        again = read_label_map(tmp_path / f"a{suffix}", labels)
        assert again.array.dtype == dtype
        assert np.array_equal(again.array, array)
        assert again.geometry == geometry
        assert again.labels == labels


def test_a_label_map_of_a_picture_is_a_png(tmp_path):
    array = np.zeros((5, 7, 1), np.int64)
    array[2, 3] = 300
    label_map = LabelMap(array, picture_geometry((5, 7, 1)), (Label(value=300, name="cell"),))
    write_label_map(label_map, tmp_path / "a.png")
    assert np.array_equal(read_label_map(tmp_path / "a.png").array, array)


def test_values_without_names_are_called_by_number(tmp_path):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 7, np.uint8), np.eye(4)), tmp_path / "a.nii")
    labels = read_label_map(tmp_path / "a.nii").labels
    assert [(label.value, label.name) for label in labels] == [(7, "label_7")]


def test_whole_floats_are_label_values(tmp_path):
    array = np.array([[[0, 1, 2, 0]]], np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    label_map = read_label_map(tmp_path / "a.nii")
    assert label_map.array.dtype == np.uint8
    assert np.array_equal(label_map.array, array)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.array([[[0, 0.5]]], np.float32), "fractions"),
        (np.array([[[0, np.nan]]], np.float32), "no number"),
        (np.array([[[0, np.inf]]], np.float32), "no number"),
        (np.array([[[0, -1]]], np.int16), "-1 to 0"),
        (np.array([[[0, 70000]]], np.int32), "0 to 70000"),
        (np.zeros((2, 2, 2, 2), np.uint8), "2 channels"),
    ],
)
def test_what_is_no_label_value_is_refused(tmp_path, array, what):
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(LabelError, match=what):
        read_label_map(tmp_path / "a.nii")


def test_values_without_a_label_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 7, np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(LabelError, match="values 7"):
        read_label_map(tmp_path / "a.nii", (Label(value=1, name="a"),))


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.png", "a.tif", "a.jpg", "a.mha", "a.nrrd"]
)
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for read in (read_volume, read_geometry, read_label_map):
        with pytest.raises(UnreadableFile, match="an empty file"):
            read(tmp_path / name)


def test_what_is_not_there_is_refused(tmp_path):
    for read in (read_volume, read_geometry, read_label_map):
        with pytest.raises(MissingPath, match=r"nowhere.nii.gz"):
            read(tmp_path / "nowhere.nii.gz")


def test_a_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(NoDicom, match="no DICOM file"):
        read_volume(tmp_path)


def test_unknown_formats_are_refused(tmp_path, volume):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UnknownFormat, match=r"Received: a.txt"):
        read_volume(tmp_path / "a.txt")
    with pytest.raises(UnknownFormat, match=r"Received: b.xyz"):
        write_volume(volume, tmp_path / "b.xyz")


def test_a_dicom_file_is_no_label_map(series):
    with pytest.raises(UnknownFormat, match="medseg convert SEG"):
        read_label_map(series)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path, volume):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotWrite, match="Permission denied"):
        write_volume(volume, tmp_path / "a.nii.gz")


def test_a_file_where_a_folder_must_be_is_refused(tmp_path, volume):
    (tmp_path / "file").write_text("in the way")
    for suffix in (*SUFFIXES, ".png"):
        flat = Volume(np.zeros((1, 5, 7, 1), np.uint8), picture_geometry((5, 7, 1)))
        with pytest.raises(CannotWrite, match="must be a place that can be written"):
            write_volume(flat, tmp_path / "file" / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_nothing(tmp_path, volume, suffix, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg.files._flush", full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        write_volume(volume, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())
