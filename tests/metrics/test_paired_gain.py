import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from medseg.metrics.paired import gain_of, holm, resamples, wilcoxon_p


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_never_helps_and_keeps_the_order(p):
    corrected = holm(p)
    assert all(before <= after <= 1.0 for before, after in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(corrected)[order]) >= 0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_p_is_that_of_scipy_and_zero_differences_are_none():
    apart = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.0])
    assert wilcoxon_p(apart) == wilcoxon(apart, zero_method="pratt").pvalue
    assert wilcoxon_p(np.zeros(4)) == 1.0
    assert wilcoxon_p(np.zeros(0)) == 1.0


@settings(deadline=None, max_examples=30)  # scipy is loaded by the first
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6))  # scipy tries all signs
def test_a_gain_turned_around_is_a_loss(differences):
    gain, loss = gain_of(np.array(differences) / 9), gain_of(-np.array(differences) / 9)
    assert gain.mean == pytest.approx(-loss.mean)
    assert gain.ci_low == pytest.approx(-loss.ci_high)
    assert gain.p == loss.p
    assert not (gain.is_better(0.0) and loss.is_better(0.0))


def test_a_gain_counts_only_if_p_and_interval_say_so():
    gain = gain_of(np.linspace(0.01, 0.03, 12))
    assert gain.is_better(0.04)
    assert not gain.is_better(0.06)
    assert not gain_of(np.linspace(-0.01, 0.03, 4)).is_better(0.001)
    assert not gain_of(np.array([0.5])).is_better(0.0)


def test_each_resample_draws_as_many_cases_as_there_are():
    assert (resamples(7).sum(axis=1) == 7).all()
    assert resamples(0).shape == (2000, 0)
    assert resamples(7) is resamples(7)
