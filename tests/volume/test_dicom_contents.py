"""Rows of the table of docs/how-to/dicom.md on pixels, masks and names: synthetic and real."""

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

from dicom_masks import LABELS, codes, segmented, threshold
from medseg.errors import (
    ConflictingFiles,
    LabelError,
)
from medseg.volume.dicom import find_only_series, read_series, write_series
from medseg.volume.dicom_seg import read_segmentation, write_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Code, Label
from medseg.volume.volume import LabelMap, Volume


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
