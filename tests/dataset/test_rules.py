"""nnU-Net's rules for intensities, patch and batch."""

import pytest
from planning import STATISTICS

from medseg.dataset.description import Channel
from medseg.dataset.normalise import ClipAndScale, UnitRange, ZScore
from medseg.dataset.rules import batch_limit, largest_patch, normalisation, tells_sides_apart


def how(modality, statistics=STATISTICS, nonzero_share=1.0):
    return normalisation(Channel(name="c", modality=modality), statistics, nonzero_share)[0]


def test_ct_is_clipped_by_the_foreground_of_all_cases():
    assert how("CT") == ClipAndScale(low=-50, high=240, mean=100, std=50)
    assert how("ct") == how("CT")


@pytest.mark.parametrize("modality", ["MR", "PT", ""])
def test_what_has_no_unit_is_standardised_case_by_case(modality):
    assert how(modality) == ZScore(inside_nonzero=False)
    assert how(modality, nonzero_share=0.6) == ZScore(inside_nonzero=True)


@pytest.mark.parametrize("name", ["SUV", "pet_suv", "SUV-bw"])
def test_uptake_values_are_clipped_and_scaled_alike(name):
    way, why = normalisation(Channel(name=name, modality="PT"), STATISTICS, 1.0)
    assert way == ClipAndScale(low=0, high=240, mean=100, std=50)
    assert "have a unit" in why


@pytest.mark.parametrize("name", ["PET", "fdg", "suvival"])
def test_pet_in_a_scanners_own_unit_is_standardised(name):
    way, why = normalisation(Channel(name=name, modality="PT"), STATISTICS, 1.0)
    assert way == ZScore()
    assert "call the channel SUV" in why


def test_uptake_values_without_foreground_are_standardised():
    nothing = STATISTICS.model_copy(update={"std": 0.0})
    assert normalisation(Channel(name="SUV", modality="PT"), nothing, 1.0)[0] == ZScore()


@pytest.mark.parametrize(("maximum", "scale"), [(0.9, 1.0), (250.0, 255.0), (4000.0, 65535.0)])
def test_colours_have_the_range_of_their_type(maximum, scale):
    statistics = STATISTICS.model_copy(update={"maximum": maximum})
    assert how("RGB", statistics) == UnitRange(scale=scale)


def test_colours_beyond_any_type_are_standardised():
    assert how("RGB", STATISTICS.model_copy(update={"maximum": 1e6})) == ZScore()


def test_ct_without_foreground_is_standardised():
    assert how("CT", STATISTICS.model_copy(update={"std": 0.0})) == ZScore()


def test_the_largest_patch_is_the_median_case():
    shape = largest_patch((1, 1, 1), (36, 50, 35), lambda _: True)
    assert shape is not None
    assert shape.patch_size == (40, 56, 40)


def test_a_patch_shrinks_where_it_covers_most():
    voxels = 64**3
    shape = largest_patch((1, 1, 1), (256, 128, 64), lambda s: _voxels(s) <= voxels)
    assert shape is not None
    assert _voxels(shape) <= voxels
    i, j, k = shape.patch_size
    assert i > j > k


def test_nothing_fits_nothing():
    assert largest_patch((1, 1, 1), (64, 64, 64), lambda _: False) is None


@pytest.mark.parametrize("grid", [(3, 3, 3), (8, 1, 1), (9, 5, 2), (1, 1, 1), (10, 12, 8)])
def test_even_the_smallest_case_gets_a_network_of_two_stages(grid):
    for spacing_mm in ((1, 1, 1), (1, 3, 6), (5, 1, 1)):
        shape = largest_patch(spacing_mm, grid, lambda _: True)
        assert shape is not None
        assert len(shape.strides) >= 2


def test_a_batch_holds_a_twentieth_of_the_data_but_two_patches():
    assert batch_limit((40, 56, 40), (36, 50, 36), 200) == 7
    assert batch_limit((40, 56, 40), (36, 50, 36), 3) == 2


@pytest.mark.parametrize(
    ("names", "differ"),
    [
        (("left kidney", "right kidney"), True),
        (("Kidney_Left", "kidney_right", "liver"), True),
        (("left ventricle", "myocardium"), False),
        (("anterior", "posterior"), False),
    ],
)
def test_left_and_right_are_told_apart_by_names(names, differ):
    assert tells_sides_apart(names) is differ


def _voxels(shape):
    i, j, k = shape.patch_size
    return i * j * k
