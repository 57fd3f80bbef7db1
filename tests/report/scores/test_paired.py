import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from medseg.report.scores.paired import holm, paired_differences, wilcoxon_p


def column(*numbers):
    return np.array(numbers, float)[:, np.newaxis]


def test_cases_without_a_score_are_left_out_and_distances_are_better_when_small():
    near = column(*np.linspace(1, 2, 12), np.nan)
    far = column(*np.linspace(3, 4.5, 12), 9.0)
    (found,) = paired_differences({"liver": {"near": near, "far": far}}, "hd95")
    assert (found.n, found.winner) == (12, "near")
    assert found.ci_low <= found.difference <= found.ci_high < 0
    nothing = column(*[np.nan] * 13)
    (empty,) = paired_differences({"liver": {"near": near, "none": nothing}}, "hd95")
    assert (empty.n, empty.winner, empty.ci_low, empty.p) == (0, None, None, 1.0)


def test_more_tests_make_each_of_them_harder():
    models = {"a": column(*np.linspace(0.5, 0.6, 9)), "b": column(*np.linspace(0.52, 0.7, 9))}
    (alone,) = paired_differences({"x": models}, "dice")
    family = paired_differences({str(n): models for n in range(40)}, "dice")
    assert alone.p == family[0].p
    assert family[0].p_holm == pytest.approx(40 * alone.p)
    assert (alone.winner, family[0].winner) == ("b", None)


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
