import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata

from medseg.errors import EvaluationError
from medseg.report.scores.ranking import _kendall, _ranks, rank


def scores(*means, cases=40, spread=0.01):
    noise = np.random.default_rng(0).normal(0, spread, (len(means), cases, 2))
    return {f"m{n}": mean + noise[n] for n, mean in enumerate(means)}


def test_a_clear_order_never_changes():
    found = rank(scores(0.7, 0.9, 0.8), higher_is_better=True)
    assert found.order == ("m1", "m2", "m0")
    assert found.ranks == (3.0, 1.0, 2.0)
    assert (found.low, found.high) == (found.ranks, found.ranks)
    assert found.shares[1] == (1.0, 0.0, 0.0)
    assert (found.kendall_tau, found.kendall_tau_low) == (1.0, 1.0)
    assert found.first == ("m1",)


def test_for_distances_the_smallest_is_first():
    found = rank(scores(0.7, 0.9, 0.8), higher_is_better=False)
    assert found.order == ("m0", "m2", "m1")


def test_models_that_are_alike_change_places():
    found = rank(scores(0.8, 0.8, 0.8, spread=0.1), higher_is_better=True)
    assert found.kendall_tau < 0.8
    assert all(0.0 < share < 1.0 for row in found.shares for share in row)
    assert np.sum(found.shares, axis=0) == pytest.approx(np.ones(3))


def test_the_same_scores_share_a_rank():
    same = np.full((5, 1), 0.5)
    found = rank({"a": same, "b": same}, higher_is_better=True)
    assert found.ranks == (1.5, 1.5)
    assert found.first == ("a", "b")
    assert found.shares == ((1.0, 0.0), (1.0, 0.0))
    assert found.kendall_tau == 0.0


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_ranks_are_those_of_scipy(costs):
    assert _ranks(np.array([costs], float))[0].tolist() == rankdata(costs).tolist()


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_tau_is_that_of_scipy(one, other):
    expected = kendalltau(one, other).statistic
    found = _kendall(np.array(one, float), np.array([other], float))[0]
    assert found == pytest.approx(0.0 if np.isnan(expected) else expected)


@pytest.mark.parametrize(
    "given_scores", [{"a": np.ones((3, 1))}, {"a": np.ones((3, 1)), "b": np.ones((4, 1))}]
)
def test_what_cannot_be_ranked_is_refused(given_scores):
    with pytest.raises(EvaluationError, match="two or more models, scored on the same cases"):
        rank(given_scores, higher_is_better=True)
