"""The table of docs/how-to/dicom.md, row by row: a synthetic series for each, and a real one."""

import shutil

import gdcm
import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.errors import (
    ConflictingFiles,
    DuplicateSlices,
    InvalidSegmentation,
    LabelError,
    MissingGeometry,
    MissingSlice,
    MixedSeries,
    NoDicom,
    UnevenSlices,
)
from medseg.volume.dicom import find_only_series, find_series, read_series, write_series
from medseg.volume.dicom_seg import read_segmentation, write_segmentation
from medseg.volume.geometry import Geometry, LpsFrame
from medseg.volume.labels import Code, Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="Größe 左腎"), Label(value=2, name="b"))


def threshold(volume):
    """A mask that depends on each voxel's value and place alone."""
    values = volume.array[0].astype(np.float64)
    mask = (values > np.median(values)).astype(np.uint8)
    mask[0, 0, :] = 2
    return LabelMap(mask, volume.geometry, LABELS)


def segmented(folder, path, **settings):
    """The series, its mask, and the mask as it comes back from a DICOM-SEG."""
    series = find_only_series(folder)
    volume = read_series(series)
    write_segmentation(threshold(volume), series, path, algorithm="test", version="1", **settings)
    return volume, threshold(volume), read_segmentation(path, reference=volume.geometry)


def codes(volume):
    return [remark.code for remark in volume.source.remarks]


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


def test_row_spacing_may_differ_from_column_spacing(tmp_path, spoil):
    folder = spoil(lambda dataset, k: setattr(dataset, "PixelSpacing", [3, 2]))
    read, mask, again = segmented(folder, tmp_path / "s.dcm")
    assert read.spacing_mm == pytest.approx((2, 3, 2.5))
    assert np.array_equal(again.array, mask.array)
    measures = pydicom.dcmread(tmp_path / "s.dcm").SharedFunctionalGroupsSequence[0]
    assert list(measures.PixelMeasuresSequence[0].PixelSpacing) == [3, 2]


def test_padding_is_background(spoil, volume):
    def change(dataset, k):
        stored = dataset.pixel_array.copy()
        stored[0, :2] = -2000
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", -2000)

    read = read_series(spoil(change))
    rest = np.ones((5, 4, 6), bool)
    rest[:2, 0] = False
    assert np.array_equal(read.array[0][rest], volume.array[0][rest])
    assert (read.array[0][~rest] == volume.array[0][rest].min()).all()
    assert codes(read) == ["padding"]


def test_a_range_of_padding_is_background(spoil, volume):
    def change(dataset, k):
        stored = dataset.pixel_array.copy()
        stored[0, 0], stored[0, 1] = 30000, 32000
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", 32000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", 30000)

    read = read_series(spoil(change))
    assert read.array.max() == volume.array[0][np.s_[2:], :, :].max() or read.array.max() < 2000
    assert (read.array[0, :2, 0] == read.array.min()).all()


def test_padding_that_reads_zero_stays_zero(spoil):
    def change(dataset, k):
        stored = np.abs(dataset.pixel_array) + 7
        stored[0, 0] = 0
        dataset.PixelData = stored.astype("<i2").tobytes()
        dataset.add_new("PixelPaddingValue", "SS", 0)
        dataset.RescaleIntercept = 0

    read = read_series(spoil(change))
    assert (read.array[0, 0, 0] == 0).all()
    assert np.sort(np.unique(read.array))[1] >= 7


@pytest.mark.data
def test_padding_that_a_real_file_announces_and_does_not_hold_changes_nothing(data_root):
    path = data_root / "dicom_odd/pydicom__CT_small.dcm"
    read = read_series(path)
    header = pydicom.dcmread(path)
    real = header.pixel_array.T * float(header.RescaleSlope) + float(header.RescaleIntercept)
    assert header.PixelPaddingValue == -2000
    assert np.array_equal(read.array[0, ..., 0], real)
    assert codes(read) == []


@pytest.mark.parametrize("signed", [0, 1])
def test_twelve_bits_signed_or_not(tmp_path, spoil, signed):
    def change(dataset, k):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, signed
        dataset.PixelData = np.arange(2040, 2060, dtype="<u2").tobytes()
        dataset.RescaleIntercept = -1024 if not signed else 0

    read, mask, again = segmented(spoil(change), tmp_path / "s.dcm")
    stored = np.arange(2040, 2060).reshape(4, 5).T
    expected = np.where(stored < 2048, stored, stored - 4096) if signed else stored - 1024
    assert (read.array[0] == expected[..., None]).all()
    assert np.array_equal(again.array, mask.array)


def test_the_slope_of_each_slice_counts(spoil, volume):
    def change(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k, -1024 * (1 + k)

    read = read_series(spoil(change))
    assert np.array_equal(read.array, volume.array.astype(np.int32) * (1 + np.arange(6)))


NATIVE = [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def rewritten(path, syntax):
    read = pydicom.dcmread(path)
    dataset = pydicom.Dataset()
    dataset.update(read)
    dataset.file_meta = read.file_meta
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset.set_original_encoding(False, True, "utf-8")
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = read.pixel_array.astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    "syntax", [*NATIVE, RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name
)
def test_every_transfer_syntax_gives_the_mask_of_the_uncompressed(tmp_path, syntax):
    values = np.random.default_rng(1).integers(-1024, 3000, (1, 64, 48, 3)).astype(np.int16)
    volume = Volume(values, Geometry.from_spacing((1.0, 1.5, 3.0), (64, 48, 3)))
    folder = tmp_path / "series"
    write_series(volume, folder, modality="CT", patient_name="A", patient_id="1")
    plain = read_series(folder)
    for path in folder.iterdir():
        rewritten(path, syntax)
    read, mask, again = segmented(folder, tmp_path / "s.dcm")
    assert np.array_equal(read.array, plain.array)
    assert np.array_equal(mask.array, threshold(plain).array)
    assert np.array_equal(again.array, mask.array)
    assert codes(read) == []


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLosslessProcess14,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.RLELossless,
    ],
)
def test_what_gdcm_compressed_is_read_too(series, volume, syntax):
    for path in series.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()
    assert np.array_equal(read_series(series).array, volume.array)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_lossy_source_is_marked(tmp_path, spoil, kind):
    def change(dataset, k):
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = 10
        dataset.LossyImageCompressionMethod = "ISO_15444_1"

    folder = spoil(change)
    read, *_ = segmented(folder, tmp_path / "s.dcm", kind=kind)
    assert codes(read) == ["lossy"]
    seg = pydicom.dcmread(tmp_path / "s.dcm")
    assert (seg.LossyImageCompression, float(seg.LossyImageCompressionRatio)) == ("01", 10)


def test_an_empty_mask_says_that_nothing_was_found(tmp_path, series, volume):
    nothing = LabelMap(np.zeros((5, 4, 6), np.uint8), volume.geometry, LABELS)
    path = tmp_path / "s.dcm"
    write_segmentation(nothing, find_only_series(series), path, algorithm="t", version="1")
    seg = pydicom.dcmread(path)
    assert seg.ContentDescription.startswith("Nothing found")
    assert len(seg.SegmentSequence) == 2
    assert not read_segmentation(path, reference=volume.geometry).array.any()


def test_a_gap_inside_a_segment_keeps_its_frames(tmp_path, series, volume):
    array = np.zeros((5, 4, 6), np.uint8)
    array[1:3, 1:3, [1, 4]] = 1
    array[4, 3, 2] = 2
    path = tmp_path / "s.dcm"
    mask = LabelMap(array, volume.geometry, LABELS)
    write_segmentation(mask, find_only_series(series), path, algorithm="t", version="1")
    seg = hd.seg.segread(path)
    planes = [
        (
            int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
            float(group.PlanePositionSequence[0].ImagePositionPatient[2]),
        )
        for group in seg.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(planes) == [(1, -117.5), (1, -115.0), (1, -112.5), (1, -110.0), (2, -115.0)]
    assert seg.NumberOfFrames == 5
    frames = seg.pixel_array
    assert [bool(frame.any()) for frame in frames] == [True, False, False, True, True]
    assert np.array_equal(read_segmentation(path, reference=volume.geometry).array, array)
    theirs = np.asarray(seg.get_volume(combine_segments=True).array)
    assert np.bincount(theirs.ravel().astype(int)).tolist()[1:] == [8, 1]


def test_an_undescribed_label_is_refused(volume):
    with pytest.raises(LabelError, match="values 3"):
        LabelMap(np.full((5, 4, 6), 3, np.uint8), volume.geometry, LABELS)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Müller^Jörg=山田^太郎"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "Люкceмбypг"),
    ],
)
def test_names_beyond_ascii_survive(tmp_path, spoil, charset, name):
    def change(dataset, k):
        dataset.SpecificCharacterSet = charset
        dataset.PatientName, dataset.StudyDescription = name, name[:10]

    read, _, again = segmented(spoil(change), tmp_path / "s.dcm")
    seg = pydicom.dcmread(tmp_path / "s.dcm")
    assert str(seg.PatientName) == name
    assert [label.name for label in again.labels] == ["Größe 左腎", "b"]
    assert read.array.shape == (1, 5, 4, 6)


def test_codes_of_labels_are_written(tmp_path, series, volume):
    kidney = Label(value=1, name="k", kind=Code(value="64033007", meaning="Kidney"))
    mask = LabelMap(np.ones((5, 4, 6), np.uint8), volume.geometry, (kidney,))
    write_segmentation(
        mask, find_only_series(series), tmp_path / "s.dcm", algorithm="t", version="1"
    )
    (segment,) = pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence
    (kind,) = segment.SegmentedPropertyTypeCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")


def test_the_same_uid_with_other_pixels_is_a_conflict(series):
    other = pydicom.dcmread(series / "0003.dcm")
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(series / "late.dcm")
    with pytest.raises(ConflictingFiles, match=r"0003.dcm and late.dcm, whose pixels differ"):
        read_series(series)
    other.ImagePositionPatient = [0, 0, 500]
    other.save_as(series / "late.dcm")
    with pytest.raises(ConflictingFiles, match=r"whose positions differ"):
        read_series(series)


def test_a_header_that_changed_is_no_conflict_where_the_image_did_not(series, volume):
    other = pydicom.dcmread(series / "0003.dcm")
    other.WindowCenter = 7
    other.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    other.save_as(series / "again.dcm")
    read = read_series(series)
    assert np.array_equal(read.array, volume.array)
    assert codes(read) == ["copies"]
