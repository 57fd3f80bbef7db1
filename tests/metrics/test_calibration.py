import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import DifferentSpace, EvaluationError
from medseg.metrics import calibration as module
from medseg.metrics.calibration import calibration


def test_bins_error_and_brier_score_as_reckoned_by_hand():
    probability = np.array([[0.1, 0.3, 0.9, 0.8]])
    reference = np.array([[False, True, True, False]])
    found = calibration(probability, reference, bins=2)
    assert found.count == (2, 2)
    assert found.confidence == pytest.approx((0.2, 0.85))
    assert found.accuracy == pytest.approx((0.5, 0.5))
    assert found.ece == pytest.approx((2 * 0.3 + 2 * 0.35) / 4)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.01 + 0.64) / 4)


def test_edges_belong_to_the_lower_bin_and_empty_bins_have_no_mean():
    found = calibration(np.array([[0.0, 0.2, 0.4, 1.0]]), np.zeros((1, 4), bool), bins=5)
    assert found.count == (2, 1, 0, 0, 1)
    assert np.isnan([found.confidence[2], found.accuracy[3]]).all()


def test_certainty_that_is_right_is_perfect_and_wrong_is_worst():
    reference = np.eye(5, dtype=bool)
    right, wrong = calibration(reference * 1.0, reference), calibration(~reference * 1.0, reference)
    assert (right.ece, right.brier) == (0.0, 0.0)
    assert (wrong.ece, wrong.brier) == (1.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 50))
def test_it_is_the_same_bin_by_bin_and_piece_by_piece(seed, bins, at_once):
    generator = np.random.default_rng(seed)
    probability = generator.random((4, 5, 6)).astype(np.float32)
    reference = generator.random((4, 5, 6)) < probability
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once)
        found = calibration(probability, reference, bins=bins)
    gaps = 0.0
    for n in range(bins):
        inside = (probability > n / bins) & (probability <= (n + 1) / bins)
        assert found.count[n] == inside.sum()
        gaps += abs(probability[inside].sum() - reference[inside].sum())
    assert found.ece == pytest.approx(gaps / probability.size, abs=1e-6)
    assert found.brier == pytest.approx(((probability - reference) ** 2).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"probability": np.full((2, 2), np.nan)}, EvaluationError, "between 0 and 1.*nan"),
        ({"probability": np.full((2, 2), 7.0)}, EvaluationError, "between 0 and 1.*7 to 7"),
        ({"probability": np.ones((2, 2), int)}, EvaluationError, "floating.*int"),
        ({"probability": np.ones((2, 3))}, DifferentSpace, r"\(2, 3\) and \(2, 2\)"),
        ({"reference": np.ones((2, 2))}, EvaluationError, "mask is true.*float64"),
        ({"bins": 0}, EvaluationError, "at least one bin"),
    ],
)
def test_what_is_no_probability_is_refused(changes, error, match):
    arguments = {"probability": np.ones((2, 2)), "reference": np.ones((2, 2), bool), "bins": 15}
    arguments.update(changes)
    with pytest.raises(error, match=match):
        calibration(arguments["probability"], arguments["reference"], bins=arguments["bins"])
