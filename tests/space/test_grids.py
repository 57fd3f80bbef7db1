import numpy as np
import pytest

from medseg.errors import InvalidGeometry
from medseg.space.grids import Mapping, grid_at_spacing
from medseg.volume.geometry import Geometry


def outer_faces_mm(geometry):
    last = np.array(geometry.grid_size) - 0.5
    return geometry.index_to_world(np.array([[-0.5, -0.5, -0.5], last]))


@pytest.fixture
def scan():
    affine = np.array(
        [[-0.7, 0.1, 0.0, 40.0], [0.1, 0.7, 0.0, -9.0], [0, 0, 2.5, 5.0], [0, 0, 0, 1]]
    )
    return Geometry(affine, (20, 31, 9))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.3, 2.0, 2.5), (50.0, 0.71, 9.0)])
def test_a_new_spacing_keeps_the_field_of_view(scan, spacing_mm):
    grid = grid_at_spacing(scan, spacing_mm)
    np.testing.assert_allclose(outer_faces_mm(grid), outer_faces_mm(scan), atol=1e-9)


def test_the_spacing_gives_way_by_less_than_half_a_voxel_over_the_axis(scan):
    grid = grid_at_spacing(scan, (1.0, 1.0, 1.0))
    length = np.array(scan.grid_size) * scan.spacing_mm
    assert (np.abs(length - grid.grid_size) <= 0.5 + 1e-9).all()
    np.testing.assert_allclose(np.array(grid.spacing_mm) * grid.grid_size, length)


def test_its_own_spacing_gives_the_same_grid(scan):
    assert grid_at_spacing(scan, scan.spacing_mm).same_space(scan)


def test_an_axis_keeps_at_least_one_voxel(scan):
    assert grid_at_spacing(scan, (999.0, 999.0, 999.0)).grid_size == (1, 1, 1)


@pytest.mark.parametrize("spacing_mm", [(0.0, 1, 1), (1, -1, 1), (1, np.nan, 1), (1, np.inf, 1)])
def test_a_spacing_is_positive_and_finite(scan, spacing_mm):
    with pytest.raises(InvalidGeometry, match="three positive numbers"):
        grid_at_spacing(scan, spacing_mm)


def test_a_spacing_has_three_numbers(scan):
    with pytest.raises(InvalidGeometry, match="three positive numbers"):
        grid_at_spacing(scan, (1.0, 1.0))


def test_turned_axes_are_aligned_and_oblique_ones_are_not(scan):
    turned = scan.reordered((2, 0, 1), (True, False, True))
    mapping = Mapping(scan, turned)
    assert mapping.is_aligned
    assert mapping.partners == (1, 2, 0)
    assert mapping.aligned_size == scan.grid_size
    np.testing.assert_array_equal(mapping.positions(2, 2.0**-17), np.arange(9)[::-1])
    assert not Mapping(scan, Geometry(np.eye(4), (20, 31, 9))).is_aligned


def test_shrinking_counts_source_voxels_for_each_target_voxel(scan):
    coarse = grid_at_spacing(scan, (2 * scan.spacing_mm[0], scan.spacing_mm[1], 2.5))
    np.testing.assert_allclose(Mapping(scan, coarse).shrink, [2, 1, 1])
