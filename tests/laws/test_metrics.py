"""Laws of all metrics, on small random label maps, and the same numbers by another road."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import (
    binary_erosion,
    correlate,
    distance_transform_edt,
    generate_binary_structure,
)

from medseg.metrics.case import score_case
from medseg.metrics.elements import surface_areas

SHARES = ("dice", "iou", "nsd", "sensitivity", "precision", "specificity", "boundary_iou")
LENGTHS = ("hd", "hd95", "hd95_pooled", "assd", "assd_averaged", "rmsd")
SURFACES = ("elements", "borders")
quick = settings(max_examples=40, deadline=None)


@st.composite
def pairs(draw):
    """Two label maps of two structures that overlap in part, and a spacing."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.integers(3, 10)) for _ in range(3))
    share = draw(st.floats(0.0, 1.0))
    reference = np.zeros(shape, np.uint8)
    for value in (1, 2):
        start = [generator.integers(0, n) for n in shape]
        reference[tuple(slice(s, s + generator.integers(1, 5)) for s in start)] = value
    other = generator.integers(0, 3, shape).astype(np.uint8)
    predicted = np.where(generator.random(shape) < share * 0.3, other, reference)
    spacing_mm = tuple(draw(st.floats(0.3, 6.0)) for _ in range(3))
    return predicted, reference, spacing_mm


def numbers(scores, names=SHARES + LENGTHS):
    return [getattr(scores[value], name) for value in (1, 2) for name in names]


def score(predicted, reference, spacing_mm, **options):
    return score_case(predicted, reference, values=[1, 2], spacing_mm=spacing_mm, **options)


@pytest.mark.parametrize("surface", SURFACES)
@quick
@given(pair=pairs())
def test_prediction_and_reference_may_change_places(pair, surface):
    predicted, reference, spacing_mm = pair
    there = score(predicted, reference, spacing_mm, surface=surface)
    back = score(reference, predicted, spacing_mm, surface=surface)
    same = ("dice", "iou", "nsd", "boundary_iou", *LENGTHS)
    assert numbers(there, same) == pytest.approx(numbers(back, same))
    assert numbers(there, ["sensitivity"]) == numbers(back, ["precision"])
    for value in (1, 2):
        assert there[value].volume_difference_ml == pytest.approx(-back[value].volume_difference_ml)


@pytest.mark.parametrize("surface", SURFACES)
@quick
@given(pair=pairs(), factor=st.floats(0.1, 10))
def test_distances_scale_with_the_unit_and_shares_do_not(pair, factor, surface):
    predicted, reference, spacing_mm = pair
    small = score(predicted, reference, spacing_mm, tolerance_mm=1.2345, surface=surface)
    large = score(
        predicted,
        reference,
        tuple(step * factor for step in spacing_mm),
        tolerance_mm=1.2345 * factor,
        surface=surface,
    )
    assert numbers(large, LENGTHS) == pytest.approx([x * factor for x in numbers(small, LENGTHS)])
    counted = [name for name in SHARES if name not in ("nsd", "boundary_iou")]
    assert numbers(large, counted) == numbers(small, counted)


@pytest.mark.parametrize("surface", SURFACES)
@quick
@given(pair=pairs(), shift=st.tuples(*[st.integers(1, 4)] * 3))
def test_moving_both_maps_changes_nothing(pair, shift, surface):
    predicted, reference, spacing_mm = pair
    here = [np.pad(labels, 5) for labels in (predicted, reference)]
    there = [np.roll(labels, shift, (0, 1, 2)) for labels in here]
    before = score(*here, spacing_mm, surface=surface)
    assert numbers(before) == pytest.approx(numbers(score(*there, spacing_mm, surface=surface)))


@quick
@given(pairs(), st.integers(1, 6))
def test_elements_do_not_know_where_the_grid_ends(pair, margin):
    predicted, reference, spacing_mm = pair
    padded = [np.pad(labels, margin) for labels in (predicted, reference)]
    names = ("dice", "nsd", *LENGTHS)
    expected = numbers(score(predicted, reference, spacing_mm), names)
    assert numbers(score(*padded, spacing_mm), names) == pytest.approx(expected)


@pytest.mark.parametrize("surface", SURFACES)
@quick
@given(
    pair=pairs(),
    axes=st.sampled_from(list(itertools.permutations(range(3)))),
    flips=st.integers(0, 7),
)
def test_axes_may_be_reordered_and_flipped(pair, axes, flips, surface):
    predicted, reference, spacing_mm = pair
    turned = [
        np.flip(labels.transpose(axes), [n for n in range(3) if flips >> n & 1])
        for labels in (predicted, reference)
    ]
    expected = numbers(score(predicted, reference, spacing_mm, surface=surface))
    other = score(*turned, tuple(spacing_mm[a] for a in axes), surface=surface)
    assert numbers(other) == pytest.approx(expected)


@quick
@given(pairs())
def test_labels_may_be_renumbered(pair):
    predicted, reference, spacing_mm = pair
    renumber = np.array([0, 200, 7], np.uint8)
    other = score_case(
        renumber[predicted], renumber[reference], values=[200, 7], spacing_mm=spacing_mm
    )
    assert list(score(predicted, reference, spacing_mm).values()) == list(other.values())


@quick
@given(pairs())
def test_all_structures_at_once_score_as_one_by_one(pair):
    predicted, reference, spacing_mm = pair
    together = score(predicted, reference, spacing_mm)
    for value in (1, 2):
        alone = score_case(
            (predicted == value).astype(np.uint8),
            reference == value,
            values=[1],
            spacing_mm=spacing_mm,
        )
        assert alone[1] == together[value]


@quick
@given(pairs())
def test_scores_keep_their_order(pair):
    for scores in score(*pair).values():
        assert 0 <= scores.iou <= scores.dice <= 1
        # A mean of equal numbers is theirs but for rounding.
        assert 0 <= scores.assd <= scores.rmsd * (1 + 1e-9)
        assert max(scores.rmsd, scores.assd_averaged) <= scores.hd * (1 + 1e-9)
        assert 0 <= scores.hd95_pooled <= scores.hd95 * (1 + 1e-9) <= scores.hd * (1 + 2e-9)
        assert min(scores.precision, scores.sensitivity) <= scores.dice + 1e-9
        assert (scores.hd == math.inf) == (scores.status in ("missed", "false_positive"))


@pytest.mark.parametrize("surface", SURFACES)
@quick
@given(pair=pairs())
def test_distances_equal_those_of_whole_distance_maps(pair, surface):
    predicted, reference, spacing_mm = pair
    for value, scores in score(predicted, reference, spacing_mm, surface=surface).items():
        if scores.status == "ok":
            parts = elements if surface == "elements" else borders
            masks = (predicted == value, reference == value)
            expected = by_distance_maps(*(parts(mask, spacing_mm) for mask in masks), spacing_mm)
            assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected)


def borders(mask, _):
    """Where the surface is, and what each part of it weighs."""
    edge = mask & ~binary_erosion(mask, generate_binary_structure(3, 1))
    return edge, edge.astype(float)


def elements(mask, spacing_mm):
    """The same by a convolution with the eight bits of the code."""
    bits = np.array([[[128, 64], [32, 16]], [[8, 4], [2, 1]]])
    codes = correlate(np.pad(mask, ((0, 1),) * 3).astype(int), bits, mode="constant")
    areas = surface_areas(spacing_mm)[codes]
    return areas > 0, areas


def by_distance_maps(predicted, reference, spacing_mm):
    edges, weights = zip(predicted, reference, strict=True)
    maps = [distance_transform_edt(~edge, sampling=spacing_mm) for edge in edges]
    there, back = maps[1][edges[0]], maps[0][edges[1]]
    pooled = np.concatenate([there, back])
    areas = np.concatenate([weights[0][edges[0]], weights[1][edges[1]]])
    return {
        "hd": pooled.max(),
        "assd": np.average(pooled, weights=areas),
        "assd_averaged": (
            np.average(there, weights=weights[0][edges[0]])
            + np.average(back, weights=weights[1][edges[1]])
        )
        / 2,
        "rmsd": math.sqrt(np.average(pooled**2, weights=areas)),
        "nsd": np.average(pooled <= 1.0001, weights=areas),
    }
