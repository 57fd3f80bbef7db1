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


def test_the_same_distances_have_a_pooled_percentile_and_an_averaged_mean():
    apart = SurfaceDistances(np.array([0.0, 3.0]), np.array([0.0, 0.0, 1.0, 2.0]))
    assert apart.assd_averaged == pytest.approx((1.5 + 0.75) / 2)
    assert apart.hd95_pooled == pytest.approx(np.percentile([0, 3, 0, 0, 1, 2], 95))
    assert apart.rmsd == pytest.approx(np.sqrt((9 + 1 + 4) / 6))


def test_areas_weigh_all_but_the_largest_distance():
    apart = SurfaceDistances(
        np.array([0.0, 4.0]), np.array([1.0, 2.0]), np.array([9.0, 1.0]), np.array([5.0, 5.0])
    )
    assert apart.hd == 4.0
    assert apart.assd == pytest.approx((4 + 5 + 10) / 20)
    assert apart.assd_averaged == pytest.approx((0.4 + 1.5) / 2)
    assert apart.rmsd == pytest.approx(np.sqrt((16 + 5 + 20) / 20))
    assert apart.nsd(1.0) == pytest.approx((9 + 5) / 20)
    assert (apart.hd95, apart.hd95_pooled) == (4.0, 2.0)


def test_a_weighted_percentile_is_the_first_distance_within_which_95_percent_lie():
    distances, far = np.arange(20.0), np.array([0.0])
    for weight in (1.0, 0.1, 1 / 3):  # sums of which are rounded up or down
        weights = np.full(20, weight)
        apart = SurfaceDistances(distances, far, weights, np.array([weight]))
        assert apart.hd95 == 18.0
    heavy = SurfaceDistances(distances, far, np.r_[np.ones(19), 1.1], np.array([1.0]))
    assert heavy.hd95 == 19.0


def test_a_weighted_percentile_of_many_distances_is_that_of_numpy():
    generator = np.random.default_rng(0)
    distances, weights = generator.random((2, 5000)) ** 2
    apart = SurfaceDistances(distances, np.zeros(1), weights, np.ones(1))
    expected = np.percentile(distances, 95, method="inverted_cdf", weights=weights)
    assert apart.hd95 == pytest.approx(expected)
