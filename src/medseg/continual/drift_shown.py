"""What was found about drift, as the page of a report shows it, and as gauges of a monitor."""

from pathlib import Path

import numpy as np

from medseg.continual.drift import DriftReport, Statistic, Watched
from medseg.continual.drift_baseline import DriftBaseline
from medseg.report.pages.drift_page import MovedNumber, SeenCase, ShownDrift, write_drift_report
from medseg.report.plots.drift_plots import Compared
from medseg.types import FloatArray

HOW = {"ks": "Kolmogorov-Smirnov", "mmd": "kernel MMD", "cusum": "CUSUM of cases"}


def write_page(watched: Watched, baseline: DriftBaseline, path: Path) -> Path:
    """Write `report.html` of a look at drift.

    Raises:
        CannotWrite: If it cannot be written.
    """
    return write_drift_report(_shown(watched, baseline), path)


def gauges(report: DriftReport) -> str:
    """A report in Prometheus' text format, for a textfile collector or a service's own page.

    Gauges, each with the label `bundle`: `medseg_drift_alarm` (0 or 1), `medseg_drift_level`
    (after the last case; above 1 is an alarm), `medseg_drift_cases`,
    `medseg_drift_strange_cases`, `medseg_drift_unread_cases` and, with a model of quality,
    `medseg_predicted_dice_mean`.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    predicted = [x.predicted_dice for x in report.cases if x.predicted_dice is not None]
    values = {
        "medseg_drift_alarm": ("Whether the data changed.", float(report.alarm)),
        "medseg_drift_level": ("After the last case; above 1: alarm.", report.cases[-1].level),
        "medseg_drift_cases": ("Cases that were looked at.", float(len(report.cases))),
        "medseg_drift_strange_cases": (
            "Cases that are strange by themselves.",
            float(sum(one.strange for one in report.cases)),
        ),
        "medseg_drift_unread_cases": ("Cases not looked at.", float(len(report.unread))),
    }
    if predicted:
        values["medseg_predicted_dice_mean"] = ("Mean predicted Dice.", float(np.mean(predicted)))
    registry = CollectorRegistry()
    for name, (what, value) in values.items():
        Gauge(name, what, ["bundle"], registry=registry).labels(report.bundle).set(value)
    return generate_latest(registry).decode("utf-8")


def _shown(watched: Watched, baseline: DriftBaseline) -> ShownDrift:
    report = watched.report
    usual_map, now_map = _map(watched, baseline)
    return ShownDrift(
        bundle=report.bundle,
        alarm=report.alarm,
        since=report.since or "",
        delay_cases=report.delay_cases,
        false_alarm_rate=report.false_alarm_rate,
        window=report.window,
        baseline_cases=report.baseline_cases,
        learned_from=report.learned_from,
        statistics=[_moved(one) for one in report.statistics],
        cases=[
            SeenCase(x.case, x.p, x.level, x.strange, x.predicted_dice, x.dice)
            for x in report.cases
        ],
        unread=[f"{one.case}: {one.message}" for one in report.unread],
        numbers=_numbers(watched, baseline),
        usual_map=usual_map,
        now_map=now_map,
    )


def words(one: Statistic) -> str:
    """What a statistic compares, in words: "image.noise_k" becomes "image: noise k"."""
    group, _, name = one.name.partition(".")
    return f"{group}: {name.replace('_', ' ')}" if name else group


def _moved(one: Statistic) -> MovedNumber:
    return MovedNumber(
        name=words(one),
        how=HOW[one.kind],
        surprise=(one.surprise, one.threshold),
        moved=one.moved,
        since=one.since or "",
        usual=one.usual,
        now=one.now,
    )


def _numbers(watched: Watched, baseline: DriftBaseline) -> list[Compared]:
    about, sample = baseline.about, baseline.sample
    usual = dict(zip(about.image, sample.image.T, strict=True))
    usual |= dict(zip(about.mask, sample.mask.T, strict=True))
    place = {one.case: n for n, one in enumerate(watched.observations)}
    return [
        Compared(
            name=words(one),
            usual=usual[one.name],
            now=np.array([seen.values[one.name] for seen in watched.observations]),
            since=None if one.since is None else place[one.since],
        )
        for one in watched.report.statistics
        if one.name in usual
    ]


def _map(watched: Watched, baseline: DriftBaseline) -> tuple[FloatArray, FloatArray]:
    """Two principal components of baseline and cases, axes fitted on the baseline."""
    known = baseline.sample.embedding
    middle, deviation = known.mean(0), np.maximum(known.std(0), 1e-6)
    standard = (known - middle) / deviation
    _, _, rows = np.linalg.svd(standard, full_matrices=False)
    now = np.array([one.embedding for one in watched.observations], float)
    axes = rows[:2].T
    return standard @ axes, np.clip((now - middle) / deviation, -10, 10) @ axes
