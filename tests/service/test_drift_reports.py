"""Reports of drift as gauges."""

import json
from pathlib import Path

import pytest

from medseg.continual import drift
from medseg.continual.drift import CaseFinding, DriftReport, save_report
from medseg.service.drift_reports import REPORT_FILE, DriftReports


def gauges(**folders: Path) -> dict[str, dict[str, float]]:
    """By name, the number of each model."""
    return {
        family.name: {one.labels["model"]: one.value for one in family.samples}
        for family in DriftReports(folders).collect()
    }


def report(*, alarm: bool, predicted: float | None = None) -> DriftReport:
    cases = [
        CaseFinding(case=f"case_{n}", p={}, level=0.5 + n, strange=n > 0, predicted_dice=predicted)
        for n in range(3)
    ]
    return DriftReport(
        alarm=alarm, since=None, alarm_at=None, delay_cases=None, statistics=(),
        cases=tuple(cases), false_alarm_rate=0.01, window=10, baseline_cases=30, learned_from=0,
        bundle="Small 1234",
    )  # fmt: skip


def test_what_a_watch_wrote_is_told(tmp_path):
    assert REPORT_FILE == drift.REPORT_FILE
    save_report(report(alarm=True, predicted=0.75), tmp_path / "a")
    save_report(report(alarm=False), tmp_path / "b")
    found = gauges(a=tmp_path / "a", b=tmp_path / "b")
    assert found["medseg_drift_known"] == {"a": 1, "b": 1}
    assert found["medseg_drift_alarm"] == {"a": 1, "b": 0}
    assert found["medseg_drift_level"]["a"] == 2.5
    assert found["medseg_drift_cases"]["a"] == 3
    assert found["medseg_drift_strange_cases"]["a"] == 2
    assert found["medseg_predicted_dice_mean"] == {"a": 0.75}
    assert 0 <= found["medseg_drift_report_age_seconds"]["a"] < 60


def test_reports_are_read_again_each_time(tmp_path):
    save_report(report(alarm=False), tmp_path)
    collector = DriftReports({"a": tmp_path})
    alarms = []
    for alarm in (False, True):
        save_report(report(alarm=alarm), tmp_path)
        (found,) = (one for one in collector.collect() if one.name == "medseg_drift_alarm")
        alarms.append(found.samples[0].value)
    assert alarms == [0, 1]


@pytest.mark.parametrize("content", [None, b"{", json.dumps({"alarm": True, "cases": []}).encode()])
def test_without_a_report_that_can_be_read_nothing_else_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / REPORT_FILE).write_bytes(content)
    assert gauges(a=tmp_path) == {"medseg_drift_known": {"a": 0}}


def test_without_watched_models_there_is_no_gauge():
    assert gauges() == {}
