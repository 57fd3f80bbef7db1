"""Whether data of a model have changed, as `medseg drift watch` wrote it, for Prometheus."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field, ValidationError

REPORT_FILE = "drift_report.json"
"""What a watch leaves in the folder of its `--out`."""


class _Case(BaseModel):
    """Of one case, what gauges are made of."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    level: float
    strange: bool
    predicted_dice: float | None = None


class _Report(BaseModel):
    """Of a report, what gauges are made of."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    alarm: bool
    cases: tuple[_Case, ...] = Field(min_length=1)


class DriftReports(Collector):
    """Gauges of all models that are watched, read from the reports when they are asked for.

    Each has the label `model`: `medseg_drift_known` (0 where there is no report that can be read,
    and then nothing else), `medseg_drift_alarm` (0 or 1), `medseg_drift_level` (after the last
    case; above 1 is an alarm), `medseg_drift_cases`, `medseg_drift_strange_cases`,
    `medseg_drift_report_age_seconds` and, with a model of quality, `medseg_predicted_dice_mean`.

    Args:
        folders: Of each watched model, the folder that the watch writes into.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    def describe(self) -> Iterator[Metric]:
        """Nothing is read when the collector is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All gauges, as the reports are now."""
        found = {model: _numbers(folder) for model, folder in self._folders.items()}
        for name, words in _WORDS.items():
            family = GaugeMetricFamily(f"medseg_{name}", words, labels=["model"])
            for model, numbers in found.items():
                if name in numbers:
                    family.add_metric((model,), numbers[name])
            if family.samples:
                yield family


_WORDS = {
    "drift_known": "Whether there is a report that can be read.",
    "drift_alarm": "Whether the data changed.",
    "drift_level": "After the last case; above 1: alarm.",
    "drift_cases": "Cases that were looked at.",
    "drift_strange_cases": "Cases that are strange by themselves.",
    "drift_report_age_seconds": "Seconds since the report was written.",
    "predicted_dice_mean": "Mean predicted Dice.",
}


def _numbers(folder: Path) -> dict[str, float]:
    """The gauges of one report by their names; a report that cannot be read is one number."""
    path = folder / REPORT_FILE
    try:
        report = _Report.model_validate_json(path.read_bytes())
        age = max(0.0, time.time() - path.stat().st_mtime)
    except (OSError, ValidationError):
        return {"drift_known": 0.0}
    predicted = [one.predicted_dice for one in report.cases if one.predicted_dice is not None]
    mean = {"predicted_dice_mean": sum(predicted) / len(predicted)} if predicted else {}
    return mean | {
        "drift_known": 1.0,
        "drift_alarm": float(report.alarm),
        "drift_level": report.cases[-1].level,
        "drift_cases": float(len(report.cases)),
        "drift_strange_cases": float(sum(one.strange for one in report.cases)),
        "drift_report_age_seconds": age,
    }
