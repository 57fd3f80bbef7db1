import math

import numpy as np
import pytest

from medseg.metrics.case import LabelScores
from medseg.report.summary import summarise

INF = math.inf
OK = {"iou": 0.5, "nsd": 0.5, "predicted_ml": 1.0, "reference_ml": 1.0}
MISSED = LabelScores("missed", 0.0, 0.0, INF, INF, INF, 0.0, 0.0, 1.0)
INVENTED = LabelScores("false_positive", 0.0, 0.0, INF, INF, INF, 0.0, 1.0, 0.0)
NOTHING = LabelScores("both_empty", 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def found(dice, distance):
    return LabelScores("ok", dice=dice, hd=distance, hd95=distance, assd=distance, **OK)


def test_no_average_hides_what_was_missed_or_invented():
    cases = [[found(0.9, 2.0)], [found(0.7, 4.0)], [MISSED], [INVENTED], [NOTHING]]
    summary = summarise(cases, [100.0] * 5, ["liver"])[0]["liver"]
    assert (summary.n, summary.missed, summary.false_positive, summary.both_empty) == (5, 1, 1, 1)
    assert summary.means["dice"].mean == pytest.approx((0.9 + 0.7 + 0 + 0 + 1) / 5)
    assert summary.means["hd"].mean == pytest.approx(3.0)
    assert summary.means["hd"].n == 2
    assert summary.means["hd"].penalised == pytest.approx((2 + 4 + 100 + 100) / 4)
    assert summary.means["dice"].penalised is None


def test_the_overall_mean_weighs_structures_alike():
    cases = [[found(0.8, 1.0), found(0.4, 5.0)], [found(0.6, 3.0), MISSED]]
    labels, overall = summarise(cases, [50.0, 50.0], ["a", "b"])
    assert overall.means["dice"].mean == pytest.approx((0.7 + 0.2) / 2)
    assert overall.means["hd"].mean == pytest.approx((2.0 + 5.0) / 2)
    assert overall.means["hd"].mean == pytest.approx(
        (labels["a"].means["hd"].mean + labels["b"].means["hd"].mean) / 2
    )
    assert (overall.n, overall.missed) == (4, 1)


def test_where_nothing_was_found_there_is_no_distance():
    summary = summarise([[MISSED], [MISSED]], [10.0, 20.0], ["liver"])[1]
    assert summary.means["hd"].mean is None
    assert summary.means["hd"].ci_low is None
    assert summary.means["hd"].penalised == pytest.approx(15.0)


def test_the_interval_is_that_of_the_normal_theory_on_many_cases():
    dice = np.random.default_rng(1).normal(0.85, 0.05, 400).clip(0, 1)
    mean = summarise([[found(x, 1.0)] for x in dice], [9.0] * 400, ["a"])[1].means["dice"]
    half = 1.96 * dice.std(ddof=1) / math.sqrt(400)
    assert mean.ci_low == pytest.approx(dice.mean() - half, abs=0.0006)
    assert mean.ci_high == pytest.approx(dice.mean() + half, abs=0.0006)


def test_the_same_scores_give_the_same_interval_and_one_case_gives_none():
    cases = [[found(0.9, 2.0)], [found(0.7, 4.0)], [MISSED]]
    assert summarise(cases, [9.0] * 3, ["a"]) == summarise(cases, [9.0] * 3, ["a"])
    alone = summarise(cases[:1], [9.0], ["a"])[1].means["dice"]
    assert (alone.mean, alone.ci_low, alone.n) == (0.9, None, 1)
