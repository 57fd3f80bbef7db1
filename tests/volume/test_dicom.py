import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg.errors import (
    DuplicateSlices,
    MedsegError,
    MissingGeometry,
    MissingPath,
    MissingSlice,
    MixedSeries,
    NoDicom,
    TiltedSeries,
    UndecodablePixels,
    UnevenSlices,
    UnreadableFile,
)
from medseg.volume.dicom import find_series, read_series, read_series_geometry
from medseg.volume.geometry import Geometry, LpsFrame


def read_with_itk(paths):
    image = sitk.ReadImage([str(path) for path in paths])
    frame = LpsFrame(
        np.array(image.GetOrigin()),
        np.reshape(image.GetDirection(), (3, 3)),
        image.GetSpacing(),
    )
    return sitk.GetArrayFromImage(image).T, Geometry.from_lps(frame, image.GetSize())


def test_values_and_places_come_back(series, volume):
    read = read_series(series)
    assert np.array_equal(read.array, volume.array)
    assert read.array.dtype == np.int16
    assert read.geometry.distance_mm(volume.geometry) < 1e-9
    assert read.source.modality == "CT"
    assert read.source.format == "dicom"


def test_positions_order_slices_not_names_or_instance_numbers(spoil, volume):
    folder = spoil(lambda dataset, k: setattr(dataset, "InstanceNumber", (k * 5) % 6))
    assert np.array_equal(read_series(folder).array, volume.array)


def test_spacing_comes_from_positions_not_from_thickness(spoil):
    def lie(dataset, k):
        dataset.SliceThickness = 9
        dataset.SpacingBetweenSlices = 9

    assert read_series(spoil(lie)).spacing_mm == pytest.approx((0.5, 0.75, 2.5))


def test_pixel_spacing_is_rows_first(spoil):
    read = read_series(spoil(lambda dataset, k: setattr(dataset, "PixelSpacing", [3, 2])))
    assert read.spacing_mm == pytest.approx((2, 3, 2.5))


def test_header_alone_gives_the_same_geometry(series):
    assert read_series_geometry(series) == read_series(series).geometry


def test_a_slice_that_is_missing_is_named(spoil):
    folder = spoil(lambda dataset, k: None)
    next(path for path in folder.iterdir() if path.name.endswith("-2")).unlink()
    where = (
        r"1 of 6 slices missing, 2.50 mm apart: between k = 1 at -117.50 mm and k = 2 at -112.50"
    )
    with pytest.raises(MissingSlice, match=where):
        read_series(folder)


def test_two_gaps_are_counted_together(spoil):
    folder = spoil(lambda dataset, k: None)
    for path in list(folder.iterdir()):
        if path.name[-1] in "24":
            path.unlink()
    with pytest.raises(MissingSlice, match="2 of 6 slices missing"):
        read_series(folder)


def _shift(axis, millimetres, only=None):
    def change(dataset, k):
        position = list(dataset.ImagePositionPatient)
        factor = k if only is None else float(k == only)
        position[axis] = float(position[axis]) + millimetres * factor
        dataset.ImagePositionPatient = position

    return change


def test_uneven_distances_are_refused(spoil):
    with pytest.raises(UnevenSlices, match=r"distances from 2.20 to 2.80 mm"):
        read_series(spoil(_shift(2, 0.3, only=3)))


def test_positions_rounded_to_two_decimals_are_even(spoil):
    def shrink(dataset, k):
        position = [float(x) for x in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [*position[:2], round(k * 0.625, 2)]

    assert read_series(spoil(shrink)).spacing_mm[2] == pytest.approx(0.625, abs=2e-3)


def test_slices_shifted_as_no_gantry_does_are_refused(spoil):
    with pytest.raises(TiltedSeries, match=r"up to 1.67 mm beside their line"):
        read_series(spoil(_shift(1, 2, only=3)))


def test_a_tilt_beyond_any_gantry_is_refused(spoil):
    with pytest.raises(TiltedSeries, match=r"shifted in their plane by 63.4 degrees"):
        read_series(spoil(_shift(0, 5)))


def test_two_slices_at_one_position_are_refused(spoil):
    with pytest.raises(DuplicateSlices, match=r"1 positions held twice, the first at -110.00 mm"):
        read_series(spoil(_shift(2, 2.5, only=3)))


def test_a_file_that_was_copied_counts_once(series, volume):
    shutil.copy(series / "0002.dcm", series / "copy.dcm")
    read = read_series(series)
    assert np.array_equal(read.array, volume.array)
    (remark,) = read.source.remarks
    assert remark.code == "copies"
    assert "copy.dcm" in remark.text


@pytest.mark.parametrize(
    ("keyword", "value", "word"),
    [
        ("FrameOfReferenceUID", "1.2.3", "frame of reference"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "orientation"),
        ("PixelSpacing", [0.5, 0.5], "pixel spacing"),
        ("Rows", 3, "size"),
    ],
)
def test_slices_that_differ_are_refused(spoil, keyword, value, word):
    def change(dataset, k):
        if k == 4:
            setattr(dataset, keyword, value)

    with pytest.raises(MixedSeries, match=f"All slices of a volume have one {word}"):
        read_series(spoil(change))


@pytest.mark.parametrize(
    ("keyword", "word"),
    [
        ("ImagePositionPatient", "position"),
        ("ImageOrientationPatient", "orientation"),
        ("PixelSpacing", "pixel spacing"),
    ],
)
def test_slices_without_a_place_are_refused(spoil, keyword, word):
    def change(dataset, k):
        if k == 1:
            delattr(dataset, keyword)

    with pytest.raises(MissingGeometry, match=f"no valid {word} in"):
        read_series(spoil(change))


def test_localizers_among_slices_are_refused(spoil):
    def change(dataset, k):
        if k == 5:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    with pytest.raises(MixedSeries, match="1 localizers among 6 images"):
        read_series(spoil(change))


def test_localizers_of_their_own_series_are_left_aside(spoil, volume):
    def change(dataset, k):
        if k == 5:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.SeriesInstanceUID = "1.2.3"

    folder = spoil(change)
    assert np.array_equal(read_series(folder).array, volume.array[..., :5])
    assert [series.is_localizer for series in find_series(folder)].count(True) == 1


def test_two_series_in_one_folder_are_named(spoil):
    def change(dataset, k):
        dataset.SeriesDescription = "late" if k % 2 else "early"
        dataset.SeriesInstanceUID = f"1.2.{k % 2}"

    with pytest.raises(MixedSeries, match=r"CT (early|late) \(3 images\), UID ...1.2.\d; CT"):
        read_series(spoil(change))


def test_one_of_two_series_can_be_read(spoil, volume):
    def change(dataset, k):
        dataset.SeriesInstanceUID = f"1.2.{k % 2}"

    early = next(s for s in find_series(spoil(change)) if s.uid == "1.2.0")
    assert np.array_equal(read_series(early).array, volume.array[..., ::2])


def test_what_is_no_image_is_passed_over(series, volume):
    (series / "notes.txt").write_text("no DICOM")
    report = pydicom.dcmread(series / "0001.dcm")
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    (series / "below").mkdir()
    report.save_as(series / "below" / "report.dcm")
    assert np.array_equal(read_series(series).array, volume.array)


def test_a_broken_file_is_never_passed_over(series):
    whole = (series / "0003.dcm").read_bytes()
    (series / "0003.dcm").write_bytes(whole[:-9])
    with pytest.raises(UndecodablePixels, match=r"31 bytes of pixels, where 40 are expected"):
        read_series(series)
    (series / "0003.dcm").write_bytes(whole[:160])
    with pytest.raises(MedsegError, match=r"0003.dcm|missing"):
        read_series(series)


def test_slope_and_intercept_may_differ_between_slices(spoil, volume):
    def change(dataset, k):
        dataset.RescaleSlope = 0.5 + k

    read = read_series(spoil(change))
    stored = volume.array.astype(np.float64) + 1024
    expected = stored * (0.5 + np.arange(6)) - 1024
    assert read.array.dtype == np.float32
    np.testing.assert_allclose(read.array, expected, rtol=1e-6, atol=1e-3)


def test_whole_values_beyond_16_bits_become_32_bits(spoil, volume):
    read = read_series(spoil(lambda dataset, k: setattr(dataset, "RescaleSlope", 100)))
    assert read.array.dtype == np.int32
    assert np.array_equal(read.array, (volume.array.astype(np.int32) + 1024) * 100 - 1024)


def test_unsigned_values_above_the_sign_bit_stay_positive(spoil):
    def change(dataset, k):
        dataset.PixelRepresentation = 0
        dataset.RescaleIntercept = 0
        dataset.PixelData = np.full(20, 65535 if k == 2 else 1, "<u2").tobytes()

    read = read_series(spoil(change))
    assert read.array.dtype == np.int32
    assert (read.array[..., 2] == 65535).all()
    assert (read.array[..., [0, 1, 3, 4, 5]] == 1).all()


@pytest.mark.parametrize(("signed", "expected"), [(0, 0x0FFE), (1, -2)])
def test_bits_above_bits_stored_are_no_part_of_the_value(spoil, signed, expected):
    def change(dataset, k):
        dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 12, 11, 0
        dataset.PixelRepresentation = signed
        dataset.PixelData = np.full(20, 0x5FFE, "<u2").tobytes()

    assert (read_series(spoil(change)).array == expected).all()


def test_a_modality_table_is_refused(spoil):
    def change(dataset, k):
        dataset.ModalityLUTSequence = [pydicom.Dataset()]

    with pytest.raises(UndecodablePixels, match="a lookup table in"):
        read_series(spoil(change))


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(NoDicom, match="no DICOM file"):
        read_series(tmp_path)
    with pytest.raises(MissingPath, match="must be there"):
        read_series(tmp_path / "nowhere")


def test_a_header_that_makes_no_sense_is_refused(series):
    path = series / "0001.dcm"
    path.write_bytes(path.read_bytes().replace(b"0.75\\0.5", b"0.7x\\0.5"))
    with pytest.raises(UnreadableFile, match=r"0001.dcm must be a whole DICOM file"):
        read_series(series)


def test_itk_sees_the_same_volume(series):
    read = read_series(series)
    array, geometry = read_with_itk(read.source.paths)
    assert np.array_equal(array, read.array[0])
    assert geometry.distance_mm(read.geometry) < 1e-6


@pytest.mark.data
@pytest.mark.parametrize(
    "folder",
    [
        "dicom_messy_folder/98892001/CT5N",
        "dicom_compressed/mr_4slice_jpegls",
        "dicom_compressed/mr_4slice_jpeg",
        "dicom_hippocampus/Study1/13_HCropVolume",
        "sts_petct_mr/dicom/STS_025/PET",
        "dicom_odd/pydicom__MR_small_bigendian.dcm",
        "dicom_odd/pydicom__MR_small_padded.dcm",
        "dicom_odd/pydicom-data__explicit_VR-UN.dcm",
    ],
)
def test_itk_sees_the_same_scan(data_root, folder):
    read = read_series(data_root / folder)
    array, geometry = read_with_itk(read.source.paths)
    np.testing.assert_allclose(array, read.array[0], atol=1e-6)
    assert geometry.distance_mm(read.geometry) < 1e-6


@pytest.mark.data
def test_organs_lie_where_the_scan_shows_them(data_root):
    import nibabel as nib

    read = read_series(data_root / "ct_totalseg/dicom_j2k_series")
    labels = nib.load(data_root / "ct_totalseg/example_seg_dicom.nii.gz")
    scan = read.reoriented("LAS")
    assert scan.geometry.same_space(Geometry(labels.affine, labels.shape))
    liver = scan.array[0][np.asarray(labels.dataobj) == 5]
    assert liver.mean() == pytest.approx(89, abs=1)


@pytest.mark.data
def test_frames_of_an_enhanced_file_become_slices(data_root):
    path = data_root / "dicom_odd/dicomParser__CT0012.not_fragmented_bot_jpeg_ls.80.dcm"
    read = read_series(path)
    assert read.array.shape == (1, 512, 512, 2)
    assert read.spacing_mm == pytest.approx((0.388672, 0.388672, 10))
    stored = pydicom.dcmread(path).pixel_array
    frames = sorted({int(plane.astype(int).sum()) - 1024 * 512 * 512 for plane in stored})
    assert sorted(read.array[0].sum(axis=(0, 1), dtype=int).tolist()) == frames


@pytest.mark.data
@pytest.mark.parametrize(
    "folder", ["dicom_odd", "dicom_messy_folder", "dicom_compressed", "dicom_seg_reference"]
)
def test_every_odd_file_is_read_or_refused_in_one_sentence(data_root, folder):
    paths = sorted(path for path in (data_root / folder).rglob("*") if path.is_file())
    assert paths
    for path in paths:
        refusal = refusal_of(path)
        assert refusal is None or refusal.rule.endswith("."), path
        assert len(str(refusal)) < 600, path


def refusal_of(path: Path) -> MedsegError | None:
    try:
        read_series(path)
    except MedsegError as error:
        return error
    return None


def test_paths_of_a_series_follow_the_slices(spoil):
    (one,) = find_series(spoil(lambda dataset, k: None))
    assert [path.name[-1] for path in one.paths] == list("012345")
    assert str(one) == f"CT series {one.number} (6 images)"
    assert isinstance(one.paths[0], Path)


@pytest.mark.parametrize("length", [0, 60, 140, 300, 700])
def test_a_slice_cut_inside_its_header_is_not_lost_without_a_word(
    series: Path, length: int
) -> None:
    path = sorted(series.iterdir())[-1]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UnreadableFile, match=path.name):
        read_series(series)
