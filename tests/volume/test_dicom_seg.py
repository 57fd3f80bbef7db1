import warnings

import highdicom as hd
import numpy as np
import pydicom
import pytest

from medseg.errors import DifferentSpace, InvalidSegmentation, MissingPath, UnreadableFile
from medseg.volume.dicom import find_only_series, read_series_geometry
from medseg.volume.dicom_seg import read_segmentation, segment_labels, write_segmentation
from medseg.volume.dicom_seg_frames import is_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Code, Label
from medseg.volume.volume import LabelMap

LABELS = (
    Label(
        value=3,
        name="Left kidney",
        kind=Code(value="64033007", meaning="Kidney"),
        colour="#cc3344",
    ),
    Label(value=40, name="Tumour"),
)


@pytest.fixture
def source(series):
    return find_only_series(series)


@pytest.fixture
def label_map(source):
    array = np.zeros((5, 4, 6), np.uint8)
    array[1:3, 1:4, 1:3] = 3
    array[4, 0, 4] = 40
    return LabelMap(array, read_series_geometry(source), LABELS)


def write(label_map, source, path):
    write_segmentation(label_map, source, path, algorithm="unit test", version="1.2")
    return path


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SAL", "IRP"])
def test_voxels_and_places_come_back(tmp_path, source, label_map, orientation):
    path = write(label_map.reoriented(orientation), source, tmp_path / "seg.dcm")
    again = read_segmentation(path, reference=label_map.geometry)
    assert np.array_equal(again.array, label_map.array)
    assert again.geometry == label_map.geometry
    assert is_segmentation(path)


def test_values_names_codes_and_colours_come_back(tmp_path, source, label_map):
    kidney, tumour = read_segmentation(write(label_map, source, tmp_path / "seg.dcm")).labels
    assert (kidney.value, kidney.name, kidney.kind) == (3, "Left kidney", LABELS[0].kind)
    assert kidney.category is None
    assert kidney.colour == "#cc3344"
    assert (tumour.value, tumour.name, tumour.kind) == (40, "Tumour", None)


def test_its_own_grid_ends_with_its_frames(tmp_path, source, label_map):
    again = read_segmentation(write(label_map, source, tmp_path / "seg.dcm"))
    assert again.geometry.same_space(label_map.geometry.cropped((0, 0, 1), (5, 4, 4)))
    assert np.array_equal(again.array, label_map.array[:, :, 1:5])


def test_other_tools_read_the_same(tmp_path, source, label_map):
    path = write(label_map, source, tmp_path / "seg.dcm")
    seg = hd.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    values = np.array([0, 3, 40], np.uint8)[np.asarray(volume.array).astype(int)]
    other = LabelMap(values, Geometry(affine, values.shape), LABELS).reoriented("LPS")
    assert np.array_equal(other.array, label_map.array[:, :, 1:5])
    assert other.geometry.same_space(label_map.geometry.cropped((0, 0, 1), (5, 4, 4)))


def test_it_belongs_to_the_patient_study_and_frame_of_the_source(tmp_path, source, label_map):
    seg = pydicom.dcmread(write(label_map, source, tmp_path / "seg.dcm"))
    image = pydicom.dcmread(source.paths[0])
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == image[keyword].value
    assert seg.SeriesInstanceUID != image.SeriesInstanceUID
    assert seg.SegmentationType == "BINARY"
    first = seg.SegmentSequence[0]
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "1.2"
    assert first.TrackingUID != seg.SegmentSequence[1].TrackingUID
    uids = {one.sop_instance_uid for one in source.slices}
    referenced = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced} == uids


def test_an_empty_label_map_comes_back_empty(tmp_path, source, label_map):
    empty = LabelMap(np.zeros_like(label_map.array), label_map.geometry, LABELS)
    again = read_segmentation(write(empty, source, tmp_path / "seg.dcm"))
    assert not again.array.any()
    assert again.geometry.same_space(label_map.geometry)
    assert [label.name for label in again.labels] == ["Left kidney", "Tumour"]


def test_a_label_map_elsewhere_is_refused(tmp_path, source, label_map):
    moved = Geometry(label_map.geometry.affine + 0.2 * np.eye(4, k=3), (5, 4, 6))
    with pytest.raises(DifferentSpace, match="same voxel centres"):
        write(LabelMap(label_map.array, moved, LABELS), source, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_a_label_map_without_labels_is_refused(tmp_path, source, label_map):
    nothing = LabelMap(np.zeros_like(label_map.array), label_map.geometry, ())
    with pytest.raises(InvalidSegmentation, match="without labels"):
        write(nothing, source, tmp_path / "seg.dcm")


def test_a_source_without_identifiers_is_refused(tmp_path, spoil, label_map):
    folder = spoil(lambda dataset, k: setattr(dataset, "StudyInstanceUID", ""))
    with pytest.raises(InvalidSegmentation, match="without StudyInstanceUID"):
        write(label_map, find_only_series(folder), tmp_path / "seg.dcm")


def test_a_source_whose_optional_attributes_were_removed_is_accepted(tmp_path, spoil, label_map):
    def anonymise(dataset, k):
        for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
            delattr(dataset, keyword)

    source = find_only_series(spoil(anonymise))
    again = read_segmentation(write(label_map, source, tmp_path / "seg.dcm"))
    assert again.array.any()


def change(path, function):
    dataset = pydicom.dcmread(path)
    function(dataset)
    dataset.save_as(path)
    return path


def test_overlapping_segments_are_refused(tmp_path, source, label_map):
    def overlap(dataset):
        groups = dataset.PerFrameFunctionalGroupsSequence
        groups[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 2
        groups[1].PlanePositionSequence = groups[0].PlanePositionSequence

    path = change(write(label_map, source, tmp_path / "seg.dcm"), overlap)
    with pytest.raises(InvalidSegmentation, match="segments that overlap, Tumour"):
        read_segmentation(path)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda d: setattr(d, "SegmentationType", "OTHER"), "a OTHER segmentation"),
        (lambda d: setattr(d, "NumberOfFrames", 7), "7 frames of pixels, 3 planes"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:2]), "2 bytes of pixels"),
        (
            lambda d: d.PerFrameFunctionalGroupsSequence[0].__delattr__("PlanePositionSequence"),
            "without a position",
        ),
        (lambda d: d.__delattr__("SegmentSequence"), "SegmentSequence"),
    ],
)
def test_what_makes_no_label_map_is_refused(tmp_path, source, label_map, function, what):
    path = change(write(label_map, source, tmp_path / "seg.dcm"), function)
    with pytest.raises(InvalidSegmentation, match=what):
        read_segmentation(path)


def test_other_files_are_no_segmentation(tmp_path, source):
    assert not is_segmentation(source.paths[0])
    with pytest.raises(InvalidSegmentation, match="CT Image Storage"):
        read_segmentation(source.paths[0])
    with pytest.raises(MissingPath, match="must be there"):
        read_segmentation(tmp_path / "nowhere.dcm")
    (tmp_path / "a.dcm").write_text("text")
    assert not is_segmentation(tmp_path / "a.dcm")
    with pytest.raises(UnreadableFile, match="must be a whole DICOM file"):
        read_segmentation(tmp_path / "a.dcm")


@pytest.mark.data
@pytest.mark.parametrize("name", ["seg_image_ct_binary", "seg_image_ct_binary_single_frame"])
def test_segmentations_of_highdicom_are_read(data_root, name):
    path = data_root / "dicom_seg_reference" / "highdicom" / f"{name}.dcm"
    label_map = read_segmentation(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = hd.seg.segread(path).get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    other = LabelMap(
        np.asarray(volume.array).astype(np.uint8),
        Geometry(affine, volume.spatial_shape),
        label_map.labels,
    ).reoriented("LPS")
    assert other.geometry.same_space(label_map.geometry)
    assert np.array_equal(other.array, label_map.array)


@pytest.mark.data
@pytest.mark.parametrize("name", ["seg_image_ct_binary_fractional", "seg_image_ct_true_fractional"])
def test_fractions_above_one_half_are_the_segment(data_root, name):
    path = data_root / "dicom_seg_reference" / "highdicom" / f"{name}.dcm"
    label_map = read_segmentation(path)
    dataset = pydicom.dcmread(path)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    share = frames / int(dataset.MaximumFractionalValue)
    assert (label_map.array > 0).sum() == (share > 0.5).sum() > 0


@pytest.mark.parametrize("kind", ["binary", "fractional", "labelmap"])
def test_every_kind_holds_the_same_voxels(tmp_path, source, label_map, kind):
    path = tmp_path / "s.dcm"
    write_segmentation(label_map, source, path, algorithm="t", version="1", kind=kind)
    assert pydicom.dcmread(path).SegmentationType == kind.upper()
    again = read_segmentation(path, reference=label_map.geometry)
    assert np.array_equal(again.array, label_map.array)
    assert [label.name for label in again.labels] == ["Left kidney", "Tumour"]
    one = read_segmentation(path, reference=label_map.geometry, structures=["Tumour"])
    assert np.array_equal(one.array, np.where(label_map.array == 40, 40, 0))
    assert [label.name for label in segment_labels(path)] == ["Left kidney", "Tumour"]
    with pytest.raises(InvalidSegmentation, match="no liver among Left kidney, Tumour"):
        read_segmentation(path, structures=["liver"])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("seg_image_ct_binary_overlap", "overlap"),
        ("seg_image_cr_binary", "without a position"),
    ],
)
def test_segmentations_that_are_no_label_map_are_refused(data_root, name, what):
    with pytest.raises(InvalidSegmentation, match=what):
        read_segmentation(data_root / "dicom_seg_reference" / "highdicom" / f"{name}.dcm")


@pytest.mark.data
def test_an_enhanced_source_gets_its_frames_back(tmp_path, data_root):
    path = data_root / "dicom_odd/dicomParser__CT0012.not_fragmented_bot_jpeg_ls.80.dcm"
    source = find_only_series(path)
    geometry = read_series_geometry(source)
    array = np.zeros(geometry.grid_size, np.uint8)
    array[100:200, 50:90, 0] = 3
    array[10, 20, 1] = 40
    seg = write(LabelMap(array, geometry, LABELS), source, tmp_path / "seg.dcm")
    assert np.array_equal(read_segmentation(seg, reference=geometry).array, array)
