"""Evidence is a logit that can be averaged a few classes at a time."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from medseg.inference.evidence import (
    EXACT_DEPTH,
    SPARSE_DEPTH,
    depth_of,
    to_evidence,
    to_probabilities,
)


def evidence_of(logits, activation="softmax", depth=EXACT_DEPTH):
    out = np.ascontiguousarray(logits, np.float32).copy()
    to_evidence(out, activation, depth)
    return out


def back(evidence, activation="softmax", depth=EXACT_DEPTH):
    out = np.ascontiguousarray(evidence[0]).copy()
    to_probabilities(out, activation, depth)
    return out


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 2, (1, 7, 20, 11, 5)).astype(np.float32)


def test_it_is_the_log_probability_from_a_depth_upwards(logits):
    large = np.random.default_rng(0).normal(0, 30, (2, 7, 90, 50, 41)).astype(np.float32)
    expected = np.clip(1 + log_softmax(large, axis=1) / EXACT_DEPTH, 0, None)
    np.testing.assert_allclose(evidence_of(large), expected, atol=1e-5)
    assert (expected == 0).any()


def test_of_one_opinion_it_is_the_probability_and_back(logits):
    np.testing.assert_allclose(
        back(evidence_of(logits)), softmax(logits, axis=1)[0], atol=1e-5, rtol=1e-4
    )
    regions = back(evidence_of(logits, "sigmoid"), "sigmoid")
    np.testing.assert_allclose(regions, expit(logits)[0], atol=1e-5, rtol=1e-4)


def test_of_several_opinions_it_is_the_softmax_of_the_mean_logits(logits):
    other = logits[:, ::-1] + 3.0
    mean = (evidence_of(logits) + evidence_of(other)) / 2
    expected = softmax((logits + other)[0] / 2, axis=0)
    np.testing.assert_allclose(back(mean), expected, atol=1e-5, rtol=1e-3)


def test_one_that_is_sure_outweighs_one_that_doubts_by_more_than_probabilities_say():
    """The mean probability would elect the second class, the mean logit elects the first."""
    first, second = np.log([0.999, 0.001]), np.log([0.02, 0.98])
    third = np.log([0.3, 0.7])
    opinions = [evidence_of(one.reshape(1, 2, 1, 1, 1)) for one in (first, second, third)]
    found = back(sum(opinions) / 3)[:, 0, 0, 0]
    assert found == pytest.approx(softmax((first + second + third) / 3), rel=1e-4)
    assert found[0] > 0.5 > np.exp([first, second, third]).mean(axis=0)[0]


def test_opinions_that_are_far_apart_are_weighed_whole():
    """One is sure by 40, the other by 20 of the opposite: cut at 20, neither would win."""
    one, other = np.array([20.0, -20.0]), np.array([-12.0, 8.0])
    mean = sum(evidence_of(logits.reshape(1, 2, 1, 1, 1)) for logits in (one, other)) / 2
    assert back(mean)[:, 0, 0, 0] == pytest.approx(softmax((one + other) / 2), rel=1e-3)


def test_an_empty_slot_stays_empty_and_the_others_share_its_voxel():
    evidence = np.zeros((1, 3, 1, 1, 2), np.float32)
    evidence[0, :2, 0, 0, 0] = 0.9
    np.testing.assert_allclose(back(evidence)[:, 0, 0, 0], [0.5, 0.5, 0])
    assert not back(evidence)[:, 0, 0, 1].any()
    assert not back(np.zeros_like(evidence), "sigmoid").any()


def test_a_region_that_is_likelier_than_not_has_more_than_half():
    evidence = evidence_of(np.array([-0.1, 0.0, 0.1]).reshape(1, 3, 1, 1, 1), "sigmoid")
    assert np.sign(evidence.ravel() - 0.5).tolist() == [-1, 0, 1]


def test_evidence_begins_deeper_where_each_class_has_a_slot():
    assert depth_of(4, 4) == EXACT_DEPTH
    assert depth_of(5, 4) == SPARSE_DEPTH


def test_logits_that_cannot_be_changed_in_place_are_refused(logits):
    with pytest.raises(ValueError, match="in one piece of memory"):
        to_evidence(logits[..., ::2], "softmax", EXACT_DEPTH)
