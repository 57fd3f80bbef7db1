import numpy as np
import pydicom
import pytest

from medseg.errors import DifferentSpace, InvalidStructures, MissingGeometry
from medseg.volume.dicom import find_only_series, read_series_geometry
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_rtstruct_read import is_structure_set, read_structure_set, read_structures
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Code, Label
from medseg.volume.volume import LabelMap

LABELS = (
    Label(value=1, name="Niere links", kind=Code(value="64033007", meaning="Kidney")),
    Label(value=2, name="Tumör", colour="#cc3344"),
    Label(value=3, name="not found"),
)


@pytest.fixture
def source(series):
    return find_only_series(series)


@pytest.fixture
def label_map(source):
    array = np.zeros((5, 4, 6), np.uint8)
    array[0:5, 0:4, 1:4] = 1
    array[1:4, 1:3, 2] = 0
    array[2, 1, 2] = 2
    array[4, 3, 5] = 2
    return LabelMap(array, read_series_geometry(source), LABELS)


def write(label_map, source, path):
    write_structures(label_map, source, path, algorithm="unit test", version="1.2")
    return path


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SAL"])
def test_voxels_come_back_exactly(tmp_path, source, label_map, orientation):
    path = write(label_map.reoriented(orientation), source, tmp_path / "rs.dcm")
    again = read_structures(path, label_map.geometry)
    assert np.array_equal(again.array, label_map.array)
    assert again.geometry == label_map.geometry
    assert is_structure_set(path)
    assert not is_structure_set(source.paths[0])


def test_names_codes_and_colours_come_back(tmp_path, source, label_map):
    labels = read_structures(write(label_map, source, tmp_path / "rs.dcm"), label_map.geometry)
    kidney, tumour, nothing = labels.labels
    assert (kidney.name, kidney.kind) == ("Niere links", LABELS[0].kind)
    assert (tumour.name, tumour.colour) == ("Tumör", "#cc3344")
    assert (nothing.name, labels.volumes_ml()["not found"]) == ("not found", 0.0)


def test_it_refers_to_the_images_and_their_space(tmp_path, source, label_map):
    path = write(label_map, source, tmp_path / "rs.dcm")
    dataset, image = pydicom.dcmread(path), pydicom.dcmread(source.paths[0])
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == image[keyword].value
    assert read_structure_set(path).series_uid == source.uid
    by_uid = {one.sop_instance_uid: one for one in source.slices}
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence") or []:
            one = by_uid[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            z = np.reshape(contour.ContourData, (-1, 3)).astype(float)[:, 2]
            assert np.allclose(z, one.position_mm[2])
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert 3 * contour.NumberOfContourPoints == len(contour.ContourData)


def test_the_contour_of_a_box_lies_half_a_voxel_outside_of_its_centres(tmp_path, source, label_map):
    box = np.zeros((5, 4, 6), np.uint8)
    box[1:4, 1:3, 2] = 1
    path = write(LabelMap(box, label_map.geometry, LABELS[:1]), source, tmp_path / "rs.dcm")
    (contour,) = read_structure_set(path).structures[0].contours
    first = np.array(source.slices[0].position_mm)
    low, high = contour.min(axis=0) - first, contour.max(axis=0) - first
    np.testing.assert_allclose(low[:2], (0.5 * 0.5, 0.5 * 0.75), atol=1e-4)
    np.testing.assert_allclose(high[:2], (3.5 * 0.5, 2.5 * 0.75), atol=1e-4)


def test_a_label_map_elsewhere_or_without_labels_is_refused(tmp_path, source, label_map, spoil):
    moved = Geometry(label_map.geometry.affine + 0.2 * np.eye(4, k=3), (5, 4, 6))
    with pytest.raises(DifferentSpace, match="same voxel centres"):
        write(LabelMap(label_map.array, moved, LABELS), source, tmp_path / "rs.dcm")
    empty = LabelMap(np.zeros((5, 4, 6), np.uint8), label_map.geometry, ())
    with pytest.raises(InvalidStructures, match="without labels"):
        write(empty, source, tmp_path / "rs.dcm")
    placeless = find_only_series(spoil(lambda d, k: delattr(d, "FrameOfReferenceUID")))
    with pytest.raises(MissingGeometry, match="FrameOfReferenceUID"):
        write(label_map, placeless, tmp_path / "rs.dcm")
    assert not (tmp_path / "rs.dcm").exists()
