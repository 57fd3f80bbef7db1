import numpy as np
import pytest

from medseg.report.scores.paired import paired_differences


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
