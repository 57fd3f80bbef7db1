import math
from dataclasses import replace

import numpy as np
import pytest

from medseg.metrics.case import LabelScores, score_case
from medseg.report.scores.summary import DISTANCES, METRICS, OVERLAPS, VOLUMES, summarise

MISSED = LabelScores.unpredicted(1.0)
NOTHING = LabelScores.absent()
INVENTED = score_case(
    np.ones((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.uint8), values=[1], spacing_mm=(10, 10, 10)
)[1]


def found(dice, distance):
    """A structure that both masks hold; all its distances are the same."""
    return replace(
        INVENTED, status="ok", dice=dice, iou=0.5, nsd=0.5, boundary_iou=0.5,
        relative_volume_difference=0.1, volume_difference_ml=-0.5,
        **dict.fromkeys(DISTANCES, distance),
    )  # fmt: skip


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


def test_every_distance_has_a_penalised_mean_and_no_other_score():
    cases = [[found(0.9, 2.0)], [MISSED], [INVENTED], [NOTHING]]
    means = summarise(cases, [100.0] * 4, ["liver"])[0]["liver"].means
    assert set(METRICS) == set(means) == {*OVERLAPS, *DISTANCES, *VOLUMES}
    for metric in METRICS:
        if metric in DISTANCES:
            assert (means[metric].n, means[metric].mean) == (1, 2.0)
            assert means[metric].penalised == pytest.approx((2 + 100 + 100) / 3)
        else:
            assert means[metric].penalised is None


def test_volumes_are_means_of_signed_differences_and_infinite_ones_are_left_out():
    cases = [[found(0.9, 2.0)], [MISSED], [INVENTED], [NOTHING]]
    means = summarise(cases, [100.0] * 4, ["liver"])[0]["liver"].means
    assert means["volume_difference_ml"].mean == pytest.approx((-0.5 - 1.0 + 1.0 + 0.0) / 4)
    assert means["relative_volume_difference"].n == 3
    assert means["relative_volume_difference"].mean == pytest.approx((0.1 - 1.0 + 0.0) / 3)


def test_only_tubes_have_a_mean_cldice():
    means = summarise([[found(0.9, 2.0)], [NOTHING]], [9.0] * 2, ["liver"])[0]["liver"].means
    assert (means["cldice"].mean, means["cldice"].n) == (None, 0)
    tubes = [[LabelScores.absent(tube=True)], [LabelScores.unpredicted(1.0, tube=True)]]
    assert summarise(tubes, [9.0] * 2, ["v"])[0]["v"].means["cldice"].mean == pytest.approx(0.5)
