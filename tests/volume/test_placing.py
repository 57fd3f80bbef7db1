import numpy as np
import pytest

from medseg.errors import DifferentSpace
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap

LABELS = (Label(value=1, name="a"), Label(value=2, name="b"))


@pytest.fixture
def label_map():
    affine = np.array(
        [[0.9, 0.1, 0, 5], [-0.1, 0.9, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]], dtype=float
    )
    array = np.zeros((6, 7, 5), np.uint8)
    array[2:4, 3:5, 1:3] = 1
    array[4, 5, 3] = 2
    return LabelMap(array, Geometry(affine, (6, 7, 5)), LABELS)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "IPR", "ALS"])
def test_a_part_in_any_orientation_comes_back_to_the_whole(label_map, orientation):
    part = LabelMap(
        label_map.array[1:6, 2:7, 1:5], label_map.geometry.cropped((1, 2, 1), (5, 5, 4)), LABELS
    )
    placed = place(part.reoriented(orientation), label_map.geometry)
    assert np.array_equal(placed.array, label_map.array)
    assert placed.geometry == label_map.geometry
    assert placed.labels == LABELS


def test_a_smaller_target_is_filled_if_it_holds_all_structures(label_map):
    target = label_map.geometry.cropped((2, 3, 1), (3, 3, 3))
    assert np.array_equal(place(label_map, target).array, label_map.array[2:5, 3:6, 1:4])
    with pytest.raises(DifferentSpace, match="1 labelled voxels outside"):
        place(label_map, label_map.geometry.cropped((2, 3, 1), (2, 3, 3)))


def test_a_target_elsewhere_is_refused(label_map):
    with pytest.raises(DifferentSpace, match="9 labelled voxels outside"):
        place(label_map, label_map.geometry.cropped((100, 0, 0), (6, 7, 5)))


def test_other_lattices_are_refused(label_map):
    half = Geometry(label_map.geometry.affine + 0.5 * np.eye(4, k=3), (6, 7, 5))
    with pytest.raises(DifferentSpace, match="same voxel centres"):
        place(label_map, half)
    coarse = Geometry(label_map.geometry.affine @ np.diag([2, 2, 2, 1]), (3, 3, 3))
    with pytest.raises(DifferentSpace, match="same voxel"):
        place(label_map, coarse)
    turned = Geometry.from_spacing((0.9, 0.9, 3), (6, 7, 5), origin_mm=(5, 6, 7))
    with pytest.raises(DifferentSpace, match="same voxel"):
        place(label_map, turned)
