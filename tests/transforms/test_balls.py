"""Operators with a ball: as scipy's with the ball spelt out, and the laws of morphology."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.transforms.balls import operated

seeds, radii = st.integers(0, 2**32 - 1), st.integers(1, 5)
few = settings(max_examples=30, deadline=None)


def blobs(seed, size=(13, 9, 11)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 1)
    return noise > np.quantile(noise, 0.7)


def ball(radius):
    at = np.indices((2 * radius + 1,) * 3) - radius
    return (at**2).sum(0) <= radius**2


def spelt_out(mask, operator, radius):
    """scipy's, where what lies outside of the patch never begins an erosion (skimage's rule)."""

    def dilated(x):
        return ndimage.binary_dilation(x, ball(radius))

    def eroded(x):
        return ndimage.binary_erosion(x, ball(radius), border_value=1)

    steps = {
        "dilation": (dilated,), "erosion": (eroded,),
        "opening": (eroded, dilated), "closing": (dilated, eroded),
    }  # fmt: skip
    for step in steps[operator]:
        mask = step(mask)
    return mask


@few
@given(seeds, radii, st.sampled_from(["dilation", "erosion", "opening", "closing"]))
def test_it_is_the_operator_with_the_ball_spelt_out(seed, radius, operator):
    mask = blobs(seed)
    before = mask.copy()
    np.testing.assert_array_equal(
        operated(mask, operator, radius), spelt_out(mask, operator, radius)
    )
    np.testing.assert_array_equal(mask, before)


@few
@given(seeds, radii)
def test_erosion_opening_closing_and_dilation_lie_within_each_other(seed, radius):
    mask = blobs(seed)
    inner, opened, closed, outer = (
        operated(mask, name, radius) for name in ("erosion", "opening", "closing", "dilation")
    )
    for smaller, larger in ((inner, opened), (opened, mask), (mask, closed), (closed, outer)):
        assert not (smaller & ~larger).any()
    np.testing.assert_array_equal(operated(opened, "opening", radius), opened)
    np.testing.assert_array_equal(operated(closed, "closing", radius), closed)


def test_a_voxel_becomes_a_ball():
    mask = np.zeros((21, 21, 21), bool)
    mask[10, 10, 10] = True
    np.testing.assert_array_equal(operated(mask, "dilation", 8)[2:19, 2:19, 2:19], ball(8))


@pytest.mark.parametrize("operator", ["dilation", "erosion", "opening", "closing"])
def test_nothing_and_everything_stay(operator):
    for mask in (np.zeros((5, 6, 7), bool), np.ones((5, 6, 7), bool)):
        np.testing.assert_array_equal(operated(mask, operator, 3), mask)
