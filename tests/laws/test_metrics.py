"""Laws of all metrics, on small random label maps, and the same numbers by another road."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from medseg.metrics.case import score_case

SCORES = ("dice", "iou", "hd", "hd95", "assd", "nsd")
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


def numbers(scores, names=SCORES):
    return [getattr(scores[value], name) for value in (1, 2) for name in names]


def score(predicted, reference, spacing_mm, **options):
    return score_case(predicted, reference, values=[1, 2], spacing_mm=spacing_mm, **options)


@quick
@given(pairs())
def test_prediction_and_reference_may_change_places(pair):
    predicted, reference, spacing_mm = pair
    there, back = score(predicted, reference, spacing_mm), score(reference, predicted, spacing_mm)
    assert numbers(there) == pytest.approx(numbers(back))


@quick
@given(pairs(), st.floats(0.1, 10))
def test_distances_scale_with_the_unit_and_shares_do_not(pair, factor):
    predicted, reference, spacing_mm = pair
    small = score(predicted, reference, spacing_mm, tolerance_mm=1.2345)
    large = score(
        predicted,
        reference,
        tuple(step * factor for step in spacing_mm),
        tolerance_mm=1.2345 * factor,
    )
    lengths = ("hd", "hd95", "assd")
    assert numbers(large, lengths) == pytest.approx([x * factor for x in numbers(small, lengths)])
    assert numbers(large, ("dice", "iou")) == numbers(small, ("dice", "iou"))


@quick
@given(pairs(), st.tuples(*[st.integers(1, 4)] * 3))
def test_moving_both_maps_changes_nothing(pair, shift):
    predicted, reference, spacing_mm = pair
    here = [np.pad(labels, 5) for labels in (predicted, reference)]
    there = [np.roll(labels, shift, (0, 1, 2)) for labels in here]
    assert numbers(score(*here, spacing_mm)) == pytest.approx(numbers(score(*there, spacing_mm)))


@quick
@given(pairs(), st.sampled_from(list(itertools.permutations(range(3)))), st.integers(0, 7))
def test_axes_may_be_reordered_and_flipped(pair, axes, flips):
    predicted, reference, spacing_mm = pair
    turned = [
        np.flip(labels.transpose(axes), [n for n in range(3) if flips >> n & 1])
        for labels in (predicted, reference)
    ]
    expected = numbers(score(predicted, reference, spacing_mm))
    assert numbers(score(*turned, tuple(spacing_mm[a] for a in axes))) == pytest.approx(expected)


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
        assert 0 <= scores.assd <= scores.hd
        assert 0 <= scores.hd95 <= scores.hd
        assert (scores.hd == math.inf) == (scores.status in ("missed", "false_positive"))


@quick
@given(pairs())
def test_distances_equal_those_of_whole_distance_maps(pair):
    predicted, reference, spacing_mm = pair
    for value, scores in score(predicted, reference, spacing_mm, surface="borders").items():
        if scores.status == "ok":
            expected = by_distance_maps(predicted == value, reference == value, spacing_mm)
            assert {k: v for k, v in dataclasses.asdict(scores).items() if k in expected} == (
                pytest.approx(expected)
            )


def by_distance_maps(predicted, reference, spacing_mm):
    faces = generate_binary_structure(3, 1)
    edges = [mask & ~binary_erosion(mask, faces) for mask in (predicted, reference)]
    maps = [distance_transform_edt(~edge, sampling=spacing_mm) for edge in edges]
    there, back = maps[1][edges[0]], maps[0][edges[1]]
    pooled = np.concatenate([there, back])
    return {
        "hd": pooled.max(),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": pooled.mean(),
        "nsd": np.mean(pooled <= 1.0001),
    }
