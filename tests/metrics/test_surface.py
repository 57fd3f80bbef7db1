import numpy as np
import pytest

from medseg.metrics.surface import Surface, SurfaceDistances, surface_distances


def points(*rows):
    return Surface(np.array(rows, np.int32))


def test_two_voxels_two_steps_apart_are_as_far_as_their_spacing_says():
    apart = surface_distances(points((0, 0, 0)), points((0, 2, 0)), spacing_mm=(1.0, 1.5, 4.0))
    assert apart.hd == apart.hd95 == apart.assd == pytest.approx(3.0)


def test_a_diagonal_is_measured_across_all_axes():
    apart = surface_distances(points((0, 0, 0)), points((1, 1, 1)), spacing_mm=(2.0, 3.0, 6.0))
    assert apart.hd == pytest.approx(7.0)


def test_far_surfaces_are_as_exact_as_near_ones():
    there, back = points((0, 0, 0), (5, 5, 5)), points((900, 0, 0), (5, 5, 6))
    apart = surface_distances(there, back, spacing_mm=(1.0, 1.0, 1.0))
    assert apart.to_reference == pytest.approx([np.sqrt(25 + 25 + 36), 1.0])
    assert apart.to_predicted == pytest.approx([np.sqrt(895**2 + 50), 1.0])


def test_hd95_is_the_larger_of_two_directed_percentiles():
    apart = SurfaceDistances(np.array([0.0, 10.0]), np.array([0.0, 0.0, 0.0, 2.0]))
    assert apart.hd95 == pytest.approx(9.5)
    assert apart.hd == 10.0


def test_assd_and_nsd_pool_both_directions():
    apart = SurfaceDistances(np.array([0.0, 3.0]), np.array([0.0, 0.0, 1.0, 2.0]))
    assert apart.assd == pytest.approx(1.0)
    assert apart.nsd(1.0) == pytest.approx(4 / 6)


def test_a_rounded_header_does_not_push_a_surface_out_of_tolerance():
    apart = SurfaceDistances(np.array([1.0000001]), np.array([1.0000001]))
    assert apart.nsd(1.0) == 1.0
