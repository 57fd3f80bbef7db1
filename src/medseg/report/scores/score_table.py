"""Scores of one model as arrays, from an evaluation or from the `scores.json` of an earlier one."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import EvaluationError, MissingPath, UnreadableFile
from medseg.report.scores.score import Evaluation
from medseg.report.scores.summary import DISTANCES, METRICS
from medseg.report.scores.tables import score_rows, settings_of

_STATUS = "<U14"
"""Long enough for "false_positive": numpy would cut it to the length of the first word."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What one model scored, case by case.

    Attributes:
        cases: Names of the cases.
        labels: Names of the structures.
        status: "ok", "both_empty", "missed" or "false_positive", shape (cases, structures).
        diagonals_mm: Diagonal of each case's grid, shape (cases,); NaN where it is not known.
        numbers: By the name of the score an array (cases, structures): inf for the distance of a
            missed or invented structure, NaN where a score is not defined.
        settings: Which definitions the numbers follow.
    """

    cases: tuple[str, ...]
    labels: tuple[str, ...]
    status: npt.NDArray[np.str_]
    diagonals_mm: Numbers
    numbers: Mapping[str, Numbers]
    settings: Mapping[str, Any]

    def part(self, cases: tuple[str, ...], labels: tuple[str, ...]) -> "ScoreTable":
        """The same of some cases and structures, in the order that is given."""
        rows = [self.cases.index(case) for case in cases]
        columns = [self.labels.index(label) for label in labels]
        chosen = np.ix_(rows, columns)
        return ScoreTable(
            cases,
            labels,
            self.status[chosen],
            self.diagonals_mm[rows],
            {name: numbers[chosen] for name, numbers in self.numbers.items()},
            self.settings,
        )


def table_of(evaluation: Evaluation) -> ScoreTable:
    """The scores of an evaluation."""
    return _table(score_rows(evaluation), settings_of(evaluation))


def read_scores(path: Path) -> ScoreTable:
    """Read what `medseg evaluate` wrote.

    Args:
        path: A `scores.json`, or the folder that holds it.

    Raises:
        MissingPath: If there is none.
        UnreadableFile: If it is no such file.
    """
    file = path / "scores.json" if path.is_dir() else path
    if not file.is_file():
        raise MissingPath(
            "Models are compared by the scores.json of their evaluations.",
            received=f"nothing at {file}",
            cure="Name the folder that was given to medseg evaluate as --out, or pass --references "
            "to have folders of masks evaluated.",
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return _table(content["cases"], content.get("settings", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFile(
            f"{file} must be the scores.json of an evaluation.",
            received=f"{type(error).__name__}: {error}",
            cure="Evaluate again.",
        ) from error


def _table(rows: list[dict[str, Any]], settings: Mapping[str, Any]) -> ScoreTable:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    shape = (len(cases), len(labels))
    if not rows or len({(row["case"], row["label"]) for row in rows}) != math.prod(shape):
        raise ValueError("not one row for each case and structure")
    if len(rows) != math.prod(shape):
        raise ValueError("several rows for one case and structure")
    place = {
        (row["case"], row["label"]): (cases.index(row["case"]), labels.index(row["label"]))
        for row in rows
    }
    status = np.full(shape, "both_empty", dtype=_STATUS)
    diagonals = np.full(len(cases), np.nan)
    numbers = {metric: np.full(shape, np.nan) for metric in METRICS}
    for row in rows:
        at = place[row["case"], row["label"]]
        status[at] = row["status"]
        diagonals[at[0]] = row.get("diagonal_mm") or math.nan
        for metric in METRICS:
            numbers[metric][at] = _number(row, metric)
    return ScoreTable(tuple(cases), tuple(labels), status, diagonals, numbers, dict(settings))


def _number(row: dict[str, Any], metric: str) -> float:
    """A score of a row; what JSON cannot hold is infinite where a mask was empty, else unknown."""
    number = row.get(metric)
    if number is not None:
        return float(number)
    lost = row["status"] in ("missed", "false_positive")
    return math.inf if lost and metric in DISTANCES and metric in row else math.nan


def require_same_settings(tables: Mapping[str, ScoreTable]) -> None:
    """Pass if all tables follow the same definitions.

    Raises:
        EvaluationError: If two do not; the message says in what they differ.
    """
    (first, one), *others = tables.items()
    for name, other in others:
        for key in sorted({*one.settings, *other.settings}):
            if one.settings.get(key) != other.settings.get(key):
                raise EvaluationError(
                    "Models are compared by scores of the same definitions.",
                    received=f"{key} {one.settings.get(key)} in {first}, "
                    f"{other.settings.get(key)} in {name}",
                    cure="Evaluate both with the same options, or pass --references.",
                )
