"""What a training leaves in its run folder, read with patience: any part may be missing."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import MissingPath

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunRecords:
    """All that is known about a run.

    Attributes:
        metrics: `metrics.json`; empty until the run ends.
        plan: `plan.json`.
        bundle: `bundle.json` of the bundle that it left.
        folds: The columns of `log.csv` by fold, NaN where a field is empty.
    """

    metrics: dict[str, Any]
    plan: dict[str, Any]
    bundle: dict[str, Any]
    folds: dict[int, dict[str, Numbers]]

    @property
    def labels(self) -> list[str]:
        """Names of the structures, in the plan's order, or as the scores name them."""
        planned = [str(label["name"]) for label in self.plan.get("labels", []) if "name" in label]
        scored = [name for name in self.metrics.get("dice", {}) if name != "mean"]
        return planned or scored

    @property
    def measured_on(self) -> str:
        """On what the Dice was measured, in words."""
        return str(self.metrics.get("measured_on", "cases that were held out"))

    @property
    def reasons(self) -> list[tuple[str, str, str]]:
        """What was planned, which value, and why."""
        found = [one for one in self.plan.get("reasons", []) if isinstance(one, dict)]
        return [
            (str(one.get("what", "")), str(one.get("value", "")), str(one.get("why", "")))
            for one in found
        ]


def read_run(folder: Path) -> RunRecords:
    """Read what is there.

    Raises:
        MissingPath: If the folder holds no part of a run.
    """
    records = RunRecords(
        metrics={k: v for k, v in _json(folder / "metrics.json").items() if v is not None},
        plan=_json(folder / "plan.json"),
        bundle=_json(folder / "bundle" / "bundle.json"),
        folds=_log(folder / "log.csv"),
    )
    if not (records.metrics or records.plan or records.folds):
        raise MissingPath(
            "A run folder holds metrics.json, plan.json or log.csv.",
            received=f"none of them in {folder}",
            cure="Name the folder that was given to medseg train as --out.",
        )
    return records


def dice_table(metrics: dict[str, Any], labels: list[str]) -> tuple[list[dict[str, Any]], Numbers]:
    """The validation cases that were scored, and their Dice of shape (cases, structures)."""
    found = [case for case in metrics.get("cases", []) if isinstance(case, dict)]
    cases = [case for case in found if "case" in case and isinstance(case.get("dice"), dict)]
    rows = [[_number(case["dice"].get(name)) for name in labels] for case in cases]
    return cases, np.array(rows, np.float64).reshape(len(cases), len(labels))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _log(path: Path) -> dict[int, dict[str, Numbers]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    by_fold: dict[int, list[dict[str, str]]] = {}
    for row in rows:
        number = _number(row.get("fold", 0))
        by_fold.setdefault(0 if math.isnan(number) else int(number), []).append(row)
    return {
        fold: {name: np.array([_number(row.get(name)) for row in found]) for name in found[0]}
        for fold, found in by_fold.items()
    }


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
