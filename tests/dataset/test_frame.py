"""Spacing, order of axes, slices or volumes."""

import pytest
from planning import make_fingerprint

from medseg.dataset.frame import choose_frame
from medseg.errors import PlanError


def frame(spacings_mm, grid_sizes, wanted="auto"):
    return choose_frame(make_fingerprint(spacings_mm, grid_sizes), wanted)


def test_the_target_is_the_median_spacing():
    chosen = frame(((1, 1, 1), (1, 1, 2), (1, 1, 4)), ((60, 60, 60),) * 3)
    assert chosen.spacing_mm == (1, 1, 2)
    assert chosen.grid == (60, 60, 60)


def test_a_coarse_axis_of_few_slices_takes_the_tenth_percentile():
    spacings = tuple((1.5, 1.5, k) for k in (5, 5, 8, 10, 10, 10, 10, 10, 10, 10, 10))
    chosen = frame(spacings, ((200, 200, 12),) * 11)
    assert chosen.spacing_mm == (1.5, 1.5, 5.0)
    assert "10th percentile" in chosen.reasons[2].why


def test_a_coarse_axis_of_many_slices_keeps_the_median():
    spacings = tuple((1.0, 1.0, k) for k in (3, 4, 5))
    assert frame(spacings, ((200, 200, 150),) * 3).spacing_mm == (1, 1, 4)


def test_the_target_of_a_coarse_axis_is_never_finer_than_the_others():
    spacings = ((1.0, 1.0, 0.5), *(((1.0, 1.0, 9.0),) * 8))
    assert frame(spacings, ((200, 200, 12),) * 9).spacing_mm[2] >= 1.0


@pytest.mark.parametrize(
    ("spacing_mm", "letters"),
    [((1, 1, 1), "RAS"), ((1, 1, 3), "RAS"), ((3, 1, 1), "ASR"), ((1, 4, 2), "RSA")],
)
def test_the_coarsest_axis_comes_last(spacing_mm, letters):
    chosen = frame((spacing_mm,) * 3, ((40, 40, 40),) * 3)
    assert chosen.orientation == letters
    assert chosen.spacing_mm[2] == max(spacing_mm)


def test_a_single_slice_comes_last_even_when_it_is_thin():
    chosen = frame(((0.5, 2, 2),) * 2, ((1, 64, 48),) * 2)
    assert (chosen.orientation, chosen.grid, chosen.config) == ("ASR", (64, 48, 1), "2d")


@pytest.mark.parametrize(("slices", "config"), [(1, "2d"), (3, "2d"), (4, "3d_full")])
def test_few_slices_are_seen_one_by_one(slices, config):
    assert frame(((1, 1, 5),) * 3, ((64, 64, slices),) * 3).config == config


def test_a_2d_plan_of_volumes_leaves_their_slices_as_they_are():
    spacings, sizes = ((1, 1, 2), (1, 1, 2), (1, 1, 1)), ((64, 64, 20), (64, 64, 20), (64, 64, 40))
    assert frame(spacings, sizes, "2d").grid == (64, 64, 20)
    sizes = ((64, 64, 12), (64, 64, 30), (64, 64, 60))
    assert frame(spacings, sizes, "2d").grid == (64, 64, 30)
    assert frame(spacings, sizes, "3d_full").grid == (64, 64, 30)


def test_volumes_cannot_be_had_from_slices():
    with pytest.raises(PlanError, match=r"needs volumes.*cases of one slice"):
        frame(((1, 1, 1),) * 3, ((64, 64, 1),) * 3, "3d_full")
