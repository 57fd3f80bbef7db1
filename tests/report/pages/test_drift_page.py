"""The page of a look at drift."""

from dataclasses import replace

import numpy as np
import pytest

from medseg.report.pages.drift_page import MovedNumber, SeenCase, ShownDrift, write_drift_report
from medseg.report.plots.drift_plots import Compared


def shown(*, alarm, cases=12, learned_from=0):
    rng = np.random.default_rng(0)
    p = {"image": 0.5, "encoder": 0.01 if alarm else 0.6, "mask": 0.4}
    return ShownDrift(
        bundle="scan & mask 0123",
        alarm=alarm,
        since="case_3" if alarm else "",
        delay_cases=5 if alarm else None,
        false_alarm_rate=0.02,
        window=10,
        baseline_cases=40,
        learned_from=learned_from,
        statistics=[
            MovedNumber("image: noise k", "Kolmogorov-Smirnov", (5.2 if alarm else 1.2, 3.7), alarm,
                        "case_3" if alarm else "", 0.2, 0.41),
            MovedNumber("encoder", "kernel MMD", (0.5, 1.8), False, "", None, None),
        ],
        cases=[SeenCase(f"case_{n}", p, 0.1 * n, alarm, 0.871, None) for n in range(cases)],
        unread=["broken: It cannot be read."],
        numbers=[Compared("image: noise k", rng.normal(size=40), rng.normal(size=cases), 3)],
        usual_map=rng.normal(size=(40, 2)),
        now_map=rng.normal(size=(cases, 2)),
    )  # fmt: skip


@pytest.mark.parametrize("alarm", [True, False])
def test_it_says_whether_and_what(tmp_path, alarm):
    page = write_drift_report(shown(alarm=alarm), tmp_path / "report.html").read_text()
    assert ("<h1>The data changed, most likely with case_3" in page) is alarm
    assert ("<h1>No change in 12 cases" in page) is not alarm
    assert ("2 % of the windows of 10 cases would" in page) is not alarm
    assert "scan &amp; mask 0123" in page
    assert "broken: It cannot be read." in page
    assert "0.871" in page
    assert page.count("<svg") == 3
    assert "<script" not in page


def test_a_baseline_of_learned_cases_is_not_hidden(tmp_path):
    page = write_drift_report(shown(alarm=False, learned_from=7), tmp_path / "r.html").read_text()
    assert "learned from 7 of the 40 cases" in page


def test_where_only_a_view_moved_the_numbers_that_changed_most_are_named(tmp_path):
    drift = shown(alarm=True)
    noise, encoder = drift.statistics
    swapped = replace(
        drift,
        statistics=[replace(encoder, moved=True), replace(noise, moved=False)],
    )
    page = write_drift_report(swapped, tmp_path / "r.html").read_text()
    assert "What moved most: encoder. No number moved alone; those that changed most: image" in page


def test_one_case_is_enough(tmp_path):
    page = write_drift_report(shown(alarm=False, cases=1), tmp_path / "r.html").read_text()
    assert "No change in 1 case" in page
