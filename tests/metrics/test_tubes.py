import numpy as np
import pytest

from medseg.metrics.case import score_case
from medseg.metrics.tubes import cldice


def tube(shape=(9, 9, 20), first=2, last=18, wide=3):
    mask = np.zeros(shape, bool)
    mask[3 : 3 + wide, 3 : 3 + wide, first:last] = True
    return mask


def test_a_thinner_tube_with_the_same_middle_line_is_perfect():
    thin = np.zeros((9, 9, 20), bool)
    thin[4, 4, 3:17] = True
    assert cldice(thin, tube()) == cldice(tube(), thin) == 1.0
    assert 2 * (thin & tube()).sum() / (thin.sum() + tube().sum()) < 0.2


def test_a_tube_of_half_the_length_has_half_the_sensitivity():
    whole, half = np.zeros((2, 1, 1, 40), bool)
    whole[..., 0:40], half[..., 0:20] = True, True
    # Precision 1, sensitivity 20/40.
    assert cldice(half, whole) == cldice(whole, half) == pytest.approx(2 / 3)


def test_tubes_that_do_not_meet_score_nothing():
    assert cldice(tube(), np.roll(tube(), 4, 0)) == 0.0


def test_empty_masks_are_as_everywhere():
    nothing = np.zeros((9, 9, 20), bool)
    assert cldice(nothing, nothing) == 1.0
    assert cldice(tube(), nothing) == cldice(nothing, tube()) == 0.0


def test_a_2d_image_may_have_an_axis_of_one_voxel():
    flat = tube()[4]
    other = np.roll(flat, 1, 0)
    expected = cldice(flat, other)
    assert 0 < expected < 1
    assert cldice(flat[None], other[None]) == expected
    assert cldice(flat[..., None], other[..., None]) == expected


def test_a_blob_without_a_middle_line_counts_as_a_whole():
    voxel = np.zeros((5, 5, 5), bool)
    voxel[2, 2, 2] = True
    assert cldice(voxel, voxel) == 1.0


def test_only_tubes_get_a_cldice():
    labels = tube().astype(np.uint8)
    labels[0, 0, 0] = 2
    scores = score_case(labels, labels, values=[1, 2], spacing_mm=(1.0,) * 3, tubes=[1])
    assert (scores[1].cldice, scores[2].cldice) == (1.0, None)
