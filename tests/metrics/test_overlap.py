import math

import pytest

from medseg.metrics.overlap import Overlap


@pytest.mark.parametrize(
    ("overlap", "status", "dice", "iou"),
    [
        (Overlap(predicted=4, reference=4, both=4), "ok", 1.0, 1.0),
        (Overlap(predicted=4, reference=4, both=2), "ok", 0.5, 1 / 3),
        (Overlap(predicted=3, reference=1, both=1), "ok", 0.5, 1 / 3),
        (Overlap(predicted=2, reference=2, both=0), "ok", 0.0, 0.0),
        (Overlap(predicted=0, reference=0, both=0), "both_empty", 1.0, 1.0),
        (Overlap(predicted=0, reference=5, both=0), "missed", 0.0, 0.0),
        (Overlap(predicted=5, reference=0, both=0), "false_positive", 0.0, 0.0),
    ],
)
def test_known_counts_give_known_scores(overlap, status, dice, iou):
    assert overlap.status == status
    assert overlap.dice == pytest.approx(dice)
    assert overlap.iou == pytest.approx(iou)


@pytest.mark.parametrize(
    ("overlap", "sensitivity", "precision", "specificity", "relative"),
    [
        (Overlap(predicted=4, reference=5, both=2), 0.4, 0.5, 3 / 5, -0.2),
        (Overlap(predicted=10, reference=10, both=10), 1.0, 1.0, 1.0, 0.0),
        (Overlap(predicted=0, reference=0, both=0), 1.0, 1.0, 1.0, 0.0),
        (Overlap(predicted=0, reference=5, both=0), 0.0, 0.0, 1.0, -1.0),
        (Overlap(predicted=5, reference=0, both=0), 0.0, 0.0, 0.5, math.inf),
    ],
)
def test_what_is_found_and_what_is_right(overlap, sensitivity, precision, specificity, relative):
    assert overlap.sensitivity == pytest.approx(sensitivity)
    assert overlap.precision == pytest.approx(precision)
    assert overlap.specificity(10) == pytest.approx(specificity)
    assert overlap.relative_volume_difference == pytest.approx(relative)
