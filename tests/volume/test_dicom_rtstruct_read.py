import numpy as np
import pydicom
import pytest

from medseg.errors import InvalidStructures, MissingPath, UnreadableFile
from medseg.volume.dicom import find_only_series, read_series_geometry
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_rtstruct_read import read_structure_set, read_structures
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


@pytest.fixture
def geometry(series):
    return read_series_geometry(series)


@pytest.fixture
def drawn(tmp_path, series, geometry):
    """Two boxes beside each other."""
    array = np.zeros((5, 4, 6), np.uint8)
    array[0:2, 0:4, 1:4] = 1
    array[2:5, 0:4, 1:4] = 2
    labels = (Label(value=1, name="left"), Label(value=2, name="right"))
    label_map = LabelMap(array, geometry, labels)
    path = tmp_path / "rs.dcm"
    write_structures(label_map, find_only_series(series), path, algorithm="t", version="1")
    return path


def change(path, function):
    dataset = pydicom.dcmread(path)
    function(dataset)
    dataset.save_as(path)
    return path


def shifted(axis, millimetres):
    def function(dataset):
        for roi in dataset.ROIContourSequence:
            for contour in roi.ContourSequence:
                points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
                points[:, axis] += millimetres
                contour.ContourData = [round(float(x), 4) for x in points.ravel()]

    return function


def test_structures_that_overlap_are_refused_and_one_can_be_chosen(drawn, geometry):
    def widen(dataset):
        first = dataset.ROIContourSequence[0].ContourSequence
        for n, contour in enumerate(dataset.ROIContourSequence[1].ContourSequence):
            contour.ContourData = first[n].ContourData

    path = change(drawn, widen)
    with pytest.raises(InvalidStructures, match=r"right and left, which overlap, .* --structure"):
        read_structures(path, geometry)
    one = read_structures(path, geometry, structures=["right"])
    assert [label.name for label in one.labels] == ["right"]
    assert (one.array[0:2, :, 1:4] == 2).all()
    with pytest.raises(InvalidStructures, match="no other among left, right"):
        read_structures(path, geometry, structures=["other"])


def test_contours_between_the_slices_are_refused(drawn, geometry):
    path = change(drawn, shifted(2, 0.2))
    assert read_structures(path, geometry).array.any()
    with pytest.raises(InvalidStructures, match=r"at k = 1.48 .* --reference SERIES"):
        read_structures(change(drawn, shifted(2, 1.0)), geometry)


def test_contours_outside_of_the_series_are_refused(drawn, geometry):
    with pytest.raises(InvalidStructures, match=r"at k = 6 of 6 slices"):
        read_structures(change(drawn, shifted(2, 7.5)), geometry)


def test_contours_across_the_slices_are_refused(drawn, geometry):
    def tip(dataset):
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
        points[0, 2] += 5
        contour.ContourData = points.ravel().tolist()

    with pytest.raises(InvalidStructures, match="Contours lie on the slices"):
        read_structures(change(drawn, tip), geometry)


def test_points_are_left_out_with_a_remark(drawn, geometry):
    def mark(dataset):
        for contour in dataset.ROIContourSequence[1].ContourSequence:
            contour.ContourGeometricType = "POINT"

    label_map = read_structures(change(drawn, mark), geometry)
    assert [label.name for label in label_map.labels] == ["left"]
    (remark,) = label_map.source.remarks
    assert (remark.code, "right" in remark.text) == ("left-out", True)


def test_a_contour_that_is_there_twice_counts_once(drawn, geometry):
    before = read_structures(drawn, geometry).array

    def double(dataset):
        contours = dataset.ROIContourSequence[0].ContourSequence
        contours.append(contours[0])

    assert np.array_equal(read_structures(change(drawn, double), geometry).array, before)


def test_a_grid_in_another_order_gets_the_same_places(drawn, geometry):
    ours = read_structures(drawn, geometry)
    axes, flips = (0, 1, 2), (True, False, True)
    other = read_structures(drawn, geometry.reordered(axes, flips))
    assert np.array_equal(other.reoriented(geometry.orientation).array, ours.array)


def test_names_that_occur_twice_or_are_long_become_unique(drawn, geometry):
    def rename(dataset):
        for roi in dataset.StructureSetROISequence:
            roi.ROIName = "x" * 70

    names = [one.label.name for one in read_structure_set(change(drawn, rename)).structures]
    assert names == ["x" * 64, "x" * 60 + "-2"]


def test_what_is_no_structure_set_is_refused(tmp_path, series, geometry):
    with pytest.raises(InvalidStructures, match="CT Image Storage"):
        read_structures(series / "0001.dcm", geometry)
    with pytest.raises(MissingPath, match="must be there"):
        read_structures(tmp_path / "no.dcm", geometry)
    (tmp_path / "a.dcm").write_text("text")
    with pytest.raises(UnreadableFile, match="whole DICOM file"):
        read_structures(tmp_path / "a.dcm", geometry)


@pytest.mark.parametrize(
    "function",
    [
        lambda d: d.__delattr__("StructureSetROISequence"),
        lambda d: d.ROIContourSequence[0].ContourSequence[0].__delattr__("ContourData"),
        lambda d: setattr(d.ROIContourSequence[0].ContourSequence[0], "ContourData", [1, 2]),
    ],
)
def test_broken_parts_are_refused_in_a_sentence(drawn, geometry, function):
    with pytest.raises(InvalidStructures, match="must be an RTSTRUCT"):
        read_structures(change(drawn, function), geometry)


@pytest.mark.data
def test_a_real_structure_set_is_the_mask_of_its_providers(data_root):
    import nibabel as nib

    folder = data_root / "sts_petct_mr"
    geometry = read_series_geometry(folder / "dicom/STS_025/PET/image")
    ours = read_structures(folder / "dicom/STS_025/PET/mask/RS.dcm", geometry)
    image = nib.load(folder / "nifti/STS_025/PET_mask.nii.gz")
    assert ours.geometry.same_space(Geometry(image.affine, image.shape))
    truth, mask = np.asarray(image.dataobj) > 0, ours.array > 0
    assert [label.name for label in ours.labels] == ["GTV_Mass_PET"]
    assert truth.sum() == 606
    dice = 2 * (truth & mask).sum() / (truth.sum() + mask.sum())
    assert dice > 0.99, dice
