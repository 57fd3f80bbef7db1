import json

import numpy as np
import pytest

from medseg.errors import MissingPath, UnreadableFile
from medseg.metrics.case import score_case
from medseg.report.scores.volume_interval import (
    held_out_dice,
    interval_from_errors,
    range_from_dice,
    read_volume_errors,
)


def scores(folder, *rows):
    named = [
        {"case": case, "label": label, "status": status, "reference_ml": old, "predicted_ml": new}
        for case, label, status, old, new in rows
    ]
    (folder / "scores.json").write_text(json.dumps({"cases": named}))
    return folder


def test_ratios_are_of_cases_that_both_masks_hold_without_the_one_in_question(tmp_path):
    scores(
        tmp_path,
        ("a", "core", "ok", 2.0, 1.0),
        ("b", "core", "ok", 1.0, 2.0),
        ("c", "core", "missed", 1.0, 0.0),
        ("d", "core", "ok", 9.0, 1.0),
    )
    assert read_volume_errors(tmp_path, without="d").ratios == {"core": (0.5, 2.0)}


def test_few_cases_give_their_whole_range_and_say_its_chance():
    interval = interval_from_errors(10.0, (0.9, 1.0, 1.1, 0.8, 1.2, 1.05, 0.95, 1.0, 1.0))
    assert (interval.low_ml, interval.high_ml) == (8.0, 12.0)
    assert interval.claim == "80 %"


def test_four_cases_give_none():
    assert interval_from_errors(10.0, (0.9, 1.0, 1.1, 0.8)) is None


@pytest.mark.parametrize(("n", "k"), [(39, 1), (79, 2), (199, 5)])
def test_many_cases_give_95_percent(n, k):
    interval = interval_from_errors(1.0, tuple(np.linspace(0.5, 1.5, n)))
    assert interval.claim == "95 %"
    assert interval.low_ml == pytest.approx(0.5 + (k - 1) / (n - 1))
    assert interval.high_ml == pytest.approx(1.5 - (k - 1) / (n - 1))


def test_the_interval_holds_a_new_case_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        *known, new = generator.lognormal(0, 0.2, 20)
        interval = interval_from_errors(1.0, known)
        held += interval.low_ml <= new <= interval.high_ml
    assert held / 2000 == pytest.approx(1 - 2 / 20, abs=0.02)


@pytest.mark.parametrize("grown", [False, True])
def test_no_mask_of_this_dice_has_a_volume_outside_of_the_range(grown):
    small, large = np.zeros((2, 12, 12, 12), np.uint8)
    small[3:8, 3:8, 3:8] = 1
    large[3:9, 3:9, 3:9] = 1
    predicted, reference = (large, small) if grown else (small, large)
    one = score_case(predicted, reference, values=[1], spacing_mm=(1.0, 1.0, 1.0))[1]
    bounds = range_from_dice(one.predicted_ml, one.dice)
    assert bounds.low_ml - 1e-9 <= one.reference_ml <= bounds.high_ml + 1e-9
    end = bounds.low_ml if grown else bounds.high_ml
    assert end == pytest.approx(one.reference_ml)


def test_dice_counts_only_where_it_was_held_out():
    metrics = {"dice": {"core": 0.8}, "measured_on": "cases that were held out"}
    assert held_out_dice({"metrics": metrics}, "core") == 0.8
    assert held_out_dice({"metrics": metrics}, "rim") is None
    assert held_out_dice({"metrics": {**metrics, "measured_on": "training cases"}}, "core") is None
    assert held_out_dice({}, "core") is None
    assert range_from_dice(1.0, 0.0) is None


def test_what_is_no_evaluation_is_refused(tmp_path):
    with pytest.raises(MissingPath, match=r"Errors of volumes come from the scores\.json"):
        read_volume_errors(tmp_path)
    (tmp_path / "scores.json").write_text('{"cases": [{"case": "a"}]}')
    with pytest.raises(UnreadableFile, match=r"must be the scores\.json of an evaluation"):
        read_volume_errors(tmp_path)
