"""Rows of the table of docs/how-to/dicom.md on places: a synthetic series for each, or real."""

import shutil

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom_masks import LABELS, codes, segmented, threshold
from medseg.errors import (
    DuplicateSlices,
    InvalidSegmentation,
    MissingGeometry,
    MissingSlice,
    MixedSeries,
    NoDicom,
    UnevenSlices,
)
from medseg.volume.dicom import find_only_series, find_series, read_series, write_series
from medseg.volume.dicom_seg import read_segmentation, write_segmentation
from medseg.volume.geometry import Geometry, LpsFrame
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


def move(axis, millimetres, only=None):
    def change(dataset, k):
        position = [float(x) for x in dataset.ImagePositionPatient]
        position[axis] += millimetres * (k if only is None else float(k == only))
        dataset.ImagePositionPatient = position

    return change


def test_shuffled_and_reversed_files_give_the_same_mask(tmp_path, series, spoil, volume):
    before = threshold(read_series(series))
    folder = spoil(lambda dataset, k: setattr(dataset, "InstanceNumber", 6 - k))
    _, mask, again = segmented(folder, tmp_path / "seg.dcm")
    assert np.array_equal(before.array, mask.array)
    assert np.array_equal(again.array, mask.array)


@pytest.mark.parametrize(
    "turn",
    [
        np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T,  # coronal
        np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]]).T,  # sagittal
        np.linalg.qr(np.array([[3.0, 0.4, 0.2], [-0.3, 2.0, 0.5], [0.1, -0.4, 1.0]]))[0],
    ],
    ids=["coronal", "sagittal", "oblique"],
)
def test_any_orientation_keeps_its_planes(tmp_path, volume, turn):
    turn = turn * np.sign(np.linalg.det(turn))
    frame = LpsFrame(np.array([-30.0, 12.0, 7.0]), turn.astype(float), (0.5, 0.75, 2.5))
    turned = Volume(volume.array, Geometry.from_lps(frame, volume.geometry.grid_size))
    write_series(turned, tmp_path / "s", modality="CT", patient_name="A", patient_id="1")
    read, mask, again = segmented(tmp_path / "s", tmp_path / "seg.dcm")
    assert read.geometry.distance_mm(turned.geometry) < 1e-4
    assert np.array_equal(again.array, mask.array)
    positions = {
        tuple(np.round(np.array(header.ImagePositionPatient, float), 4))
        for header in map(pydicom.dcmread, (tmp_path / "s").iterdir())
    }
    groups = pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence
    frames = {
        tuple(np.round(np.array(g.PlanePositionSequence[0].ImagePositionPatient, float), 4))
        for g in groups
    }
    assert frames <= positions


def tilted_ball(tmp_path, degrees=20.0):
    """A ball in a series whose slices are shifted downwards by the tilt, as a scanner does."""
    size, spacing = (40, 40, 30), (1.0, 1.0, 2.0)
    tangent = np.tan(np.radians(degrees))
    z = np.arange(size[2]) * spacing[2]
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")
    distance = np.sqrt(
        (x[..., None] - 20.0) ** 2
        + (y[..., None] + (z - 29) * tangent - 20.0) ** 2
        + (z - 29.0) ** 2
    )
    array = np.where(distance < 9, 100, -1000).astype(np.int16)
    frame = LpsFrame(np.zeros(3), np.eye(3), spacing)
    volume = Volume(array[None], Geometry.from_lps(frame, size))
    folder = tmp_path / "tilted"
    write_series(volume, folder, modality="CT", patient_name="A", patient_id="1")
    for k, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [0, round((z[k] - 29) * tangent, 4), z[k]]
        dataset.GantryDetectorTilt = degrees
        dataset.save_as(path)
    return folder


def test_a_tilted_gantry_is_resampled_with_its_true_shear(tmp_path):
    folder = tilted_ball(tmp_path)
    series = find_only_series(folder)
    volume = read_series(series)
    assert codes(volume) == ["tilt"]
    assert "20.0 degrees" in volume.source.remarks[0].text
    assert volume.geometry.is_orthogonal
    inside = volume.array[0] > -450
    centre = volume.geometry.index_to_world(np.argwhere(inside).mean(axis=0))
    np.testing.assert_allclose(centre, (-20, -20, 29), atol=0.1)
    places = volume.geometry.index_to_world(
        np.moveaxis(np.indices(inside.shape), 0, -1).astype(float)
    )
    ball = np.linalg.norm(places - (-20, -20, 29), axis=-1) < 9
    assert 2 * (inside & ball).sum() / (inside.sum() + ball.sum()) > 0.97
    mask = LabelMap(inside.astype(np.uint8), volume.geometry, (Label(value=1, name="ball"),))
    path = tmp_path / "seg.dcm"
    write_segmentation(mask, series, path, algorithm="test", version="1")
    back = read_segmentation(path)  # on the tilted slices, as they were scanned
    assert not back.geometry.is_orthogonal
    truth = np.stack(
        [pydicom.dcmread(p).pixel_array.T > 500 for p in sorted(folder.iterdir())], axis=2
    )
    first = back.geometry.world_to_index(np.array([0.0, 0.0, 0.0]) + _ras(folder, 0))
    start = round(-float(first[2]))
    ours = np.zeros_like(truth)
    ours[:, :, start : start + back.array.shape[2]] = back.array > 0
    assert 2 * (ours & truth).sum() / (ours.sum() + truth.sum()) > 0.97


def _ras(folder, k):
    x, y, z = pydicom.dcmread(sorted(folder.iterdir())[k]).ImagePositionPatient
    return np.array([-x, -y, z], dtype=float)


def test_a_missing_slice_is_refused_or_flagged(tmp_path, spoil, volume):
    folder = spoil(lambda dataset, k: None)
    next(path for path in folder.iterdir() if path.name.endswith("-2")).unlink()
    with pytest.raises(MissingSlice, match=r"k = 1 at -117.50 mm .* --allow-gaps"):
        read_series(folder)
    series = find_only_series(folder, allow_gaps=True)
    read = read_series(series)
    assert codes(read) == ["gaps"]
    assert "1 of 6 slices are missing" in read.source.remarks[0].text
    there = [0, 1, 3, 4, 5]
    assert np.array_equal(read.array[..., there], volume.array[..., there])
    between = np.rint(volume.array[..., [1, 3]].mean(axis=-1))
    assert np.abs(read.array[..., 2] - between).max() <= 0.5
    assert read.geometry.same_space(volume.geometry)
    mask = threshold(read)
    write_segmentation(mask, series, tmp_path / "s.dcm", algorithm="t", version="1")
    back = read_segmentation(tmp_path / "s.dcm", reference=read.geometry)
    assert np.array_equal(back.array[..., there], mask.array[..., there])
    assert not back.array[..., 2].any()


def test_uneven_slices_are_refused_with_or_without_gaps_allowed(spoil):
    folder = spoil(move(2, 0.7, only=3))
    for allow in (False, True):
        with pytest.raises(UnevenSlices, match="distances from"):
            read_series(find_only_series(folder, allow_gaps=allow))


def test_identical_copies_are_dropped_and_different_ones_refused(series, volume):
    (series / "again").mkdir()
    for path in list(series.glob("*.dcm")):
        shutil.copy(path, series / "again" / f"x{path.name}")
    read = read_series(series)
    assert np.array_equal(read.array, volume.array)
    assert codes(read) == ["copies"]
    assert "6 copies" in read.source.remarks[0].text
    other = pydicom.dcmread(series / "again" / "x0003.dcm")
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    other.RescaleIntercept = 0
    other.save_as(series / "again" / "x0003.dcm")
    with pytest.raises(DuplicateSlices, match=r"positions held twice, .* different images"):
        read_series(series)


def test_one_of_several_series_is_chosen_by_its_uid(spoil, volume):
    def change(dataset, k):
        dataset.SeriesInstanceUID = f"1.2.840.{k % 2}"

    folder = spoil(change)
    with pytest.raises(MixedSeries, match="--series UID"):
        find_only_series(folder)
    odd = read_series(find_only_series(folder, uid="840.1"))
    assert np.array_equal(odd.array, volume.array[..., 1::2])
    with pytest.raises(NoDicom, match="none whose UID ends in 999"):
        find_only_series(folder, uid="999")


@pytest.mark.data
def test_a_mixed_study_is_never_taken_as_one_volume(data_root):
    folder = data_root / "dicom_messy_folder"
    with pytest.raises(MixedSeries, match="must hold one image series"):
        find_only_series(folder)
    every = find_series(folder)
    assert len({one.uid for one in every}) == len(every)
    chosen = next(one for one in every if one.modality == "MR")
    assert find_only_series(folder, uid=chosen.uid).uid == chosen.uid


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "FrameOfReferenceUID"])
def test_without_a_place_there_is_no_segmentation(tmp_path, spoil, keyword, volume):
    folder = spoil(lambda dataset, k: delattr(dataset, keyword))
    mask = LabelMap(np.ones((5, 4, 6), np.uint8), volume.geometry, LABELS)
    with pytest.raises(MissingGeometry, match=r"no valid position|no FrameOfReferenceUID"):
        write_segmentation(
            mask, find_only_series(folder), tmp_path / "s.dcm", algorithm="t", version="1"
        )
    assert not (tmp_path / "s.dcm").exists()


@pytest.mark.data
@pytest.mark.parametrize("name", ["mr_4slice_jpegls", "mr_4slice_jpeg"])
def test_a_real_series_without_frame_of_reference_is_read_and_refused_a_mask(
    tmp_path, data_root, name
):
    series = find_only_series(data_root / "dicom_compressed" / name)
    volume = read_series(series)
    assert volume.array.shape == (1, 256, 256, 4)
    with pytest.raises(MissingGeometry, match="FrameOfReferenceUID"):
        write_segmentation(
            threshold(volume), series, tmp_path / "s.dcm", algorithm="t", version="1"
        )


@pytest.mark.data
def test_a_real_jpeg_2000_series_without_identifiers_is_read_and_refused_a_mask(
    tmp_path, data_root
):
    series = find_only_series(data_root / "ct_totalseg/dicom_j2k_series")
    volume = read_series(series)
    assert volume.array.shape == (1, 512, 512, 20)
    with pytest.raises(InvalidSegmentation, match="without SeriesInstanceUID, StudyInstanceUID"):
        write_segmentation(
            threshold(volume), series, tmp_path / "s.dcm", algorithm="t", version="1"
        )


def enhanced(folder, path):
    """All slices as the frames of one Legacy Converted Enhanced CT, in the reverse order."""
    images = [pydicom.dcmread(one) for one in sorted(folder.iterdir())][::-1]
    converted = hd.legacy.LegacyConvertedEnhancedCTImage(
        images, series_instance_uid="1.2.9", series_number=1, sop_instance_uid="1.2.9.1",
        instance_number=1,
    )  # fmt: skip
    path.parent.mkdir()
    converted.save_as(path)
    return path.parent


def test_frames_of_an_enhanced_file_are_referred_to_one_by_one(tmp_path, series, volume):
    folder = enhanced(series, tmp_path / "enhanced" / "a.dcm")
    read, mask, again = segmented(folder, tmp_path / "seg.dcm")
    assert np.array_equal(read.array, volume.array)
    assert read.geometry.same_space(volume.geometry)
    assert np.array_equal(again.array, mask.array)
    source = pydicom.dcmread(folder / "a.dcm").PerFrameFunctionalGroupsSequence
    groups = pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence
    for group in groups:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        frame = int(image.ReferencedFrameNumber)
        position = source[frame - 1].PlanePositionSequence[0].ImagePositionPatient
        assert position == group.PlanePositionSequence[0].ImagePositionPatient


@pytest.mark.data
@pytest.mark.parametrize("name", ["emri_small", "emri_small_RLE", "emri_small_jpeg_ls_lossless"])
def test_a_real_enhanced_file_is_read_or_refused_alike(data_root, name):
    path = data_root / f"dicom_odd/pydicom-data__{name}.dcm"
    with pytest.raises(MissingGeometry, match="no valid position"):
        read_series(path)  # it holds no plane positions
