import numpy as np
import pytest

from medseg.errors import DifferentSpace, InvalidGeometry
from medseg.volume.geometry import Geometry, LpsFrame, picture_geometry


@pytest.mark.parametrize(
    ("affine", "what"),
    [
        (np.eye(3), "shape"),
        (np.full((4, 4), np.nan), "finite: False"),
        (np.diag([1, 1, 0, 1]), "axis lengths"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "axis lengths"),
        (np.diag([1, 1, 1, 2]), "0 0 0 1"),
    ],
)
def test_an_affine_that_is_no_place_is_refused(affine, what):
    with pytest.raises(InvalidGeometry, match=what):
        Geometry(affine, (2, 2, 2))


@pytest.mark.parametrize("size", [(0, 1, 1), (2, 2), (2, -1, 2)])
def test_a_grid_has_three_axes_of_voxels(size):
    with pytest.raises(InvalidGeometry, match="three axes"):
        Geometry(np.eye(4), size)


def test_the_affine_is_a_copy_that_cannot_change():
    affine = np.eye(4)
    geometry = Geometry(affine, (2, 2, 2))
    affine[0, 3] = 9
    assert geometry.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 3] = 1


def test_lps_turns_x_and_y_around():
    frame = LpsFrame(np.array([1.0, 2, 3]), np.eye(3), (0.5, 0.6, 0.7))
    geometry = Geometry.from_lps(frame, (2, 2, 2))
    assert geometry.orientation == "LPS"
    assert geometry.origin_mm.tolist() == [-1, -2, 3]
    assert geometry.spacing_mm == pytest.approx((0.5, 0.6, 0.7))


def test_spaces_differ_by_size_or_by_more_than_a_hundredth_of_a_voxel():
    geometry = Geometry.from_spacing((1, 1, 1), (4, 5, 6))
    near = Geometry.from_spacing((1, 1, 1), (4, 5, 6), origin_mm=(0.009, 0, 0))
    far = Geometry.from_spacing((1, 1, 1), (4, 5, 6), origin_mm=(0.011, 0, 0))
    assert geometry.same_space(near)
    assert not geometry.same_space(far)
    with pytest.raises(DifferentSpace, match=r"a and b.*0.011 mm apart"):
        geometry.require_same_space(far, what="a and b")
    with pytest.raises(DifferentSpace, match=r"\(4, 5, 6\) against \(4, 5, 7\) voxels"):
        geometry.require_same_space(Geometry(np.eye(4), (4, 5, 7)), what="a and b")


def test_a_long_grid_feels_a_small_error_of_spacing():
    long, other = (Geometry.from_spacing((1, 1, step), (4, 4, 400)) for step in (1, 1.0001))
    assert not long.same_space(other)


def test_equal_geometries_have_equal_hashes():
    one, two = Geometry(np.eye(4), (2, 2, 2)), Geometry(np.eye(4), (2, 2, 2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != Geometry(np.eye(4), (2, 2, 3))
    assert one != "geometry"


@pytest.mark.parametrize("orientation", ["RA", "RAX", "RRS", "RLS", "RASS", "ras", ""])
def test_letters_that_name_no_orientation_are_refused(orientation):
    with pytest.raises(InvalidGeometry, match="An orientation"):
        Geometry(np.eye(4), (2, 2, 2)).steps_to(orientation)


def test_an_axis_between_two_directions_is_used_once():
    affine = np.eye(4)
    affine[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    assert sorted(Geometry(affine, (2, 2, 2)).axis_order) == [0, 1, 2]


def test_volume_of_a_voxel_in_millilitres():
    assert Geometry.from_spacing((1, 2, 3), (2, 2, 2)).voxel_volume_ml == pytest.approx(0.006)


def test_a_sheared_grid_is_not_orthogonal():
    affine = np.eye(4)
    affine[0, 2] = 0.1
    assert not Geometry(affine, (2, 2, 2)).is_orthogonal
    assert Geometry(np.eye(4), (2, 2, 2)).is_orthogonal


def test_a_picture_hangs_left_and_down():
    geometry = picture_geometry((5, 7, 1), (0.5, 0.25, 1.0))
    assert np.array_equal(geometry.affine, np.diag([-0.5, -0.25, 1, 1]))
    assert geometry.is_2d
