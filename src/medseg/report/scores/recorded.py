"""Evaluations and comparisons that were written earlier, read back for their pages."""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medseg.errors import MissingPath, UnreadableFile
from medseg.metrics.case import LabelScores
from medseg.report.scores.compare import Comparison
from medseg.report.scores.pairs import Pair, Pairs
from medseg.report.scores.ranking import Ranking
from medseg.report.scores.score import CaseScores, Evaluation
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region, Structures
from medseg.report.scores.summary import DISTANCES, METRICS, Mean, summarise
from medseg.report.scores.verdict import PairedDifference
from medseg.volume.labels import Label, Labels


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation that `medseg evaluate` left in a folder; no mask is read.

    Raises:
        MissingPath: If there is no `scores.json`.
        UnreadableFile: If it is none, or was written before files were recorded in it.
    """
    content = _content(folder / "scores.json", "evaluation")
    try:
        return _evaluation(content)
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
        raise _unreadable(folder / "scores.json", "evaluation", "Evaluate again.", error) from error


def read_comparison(folder: Path) -> Comparison:
    """The comparison that `medseg compare` left in a folder.

    Raises:
        MissingPath: If there is no `comparison.json`.
        UnreadableFile: If it is none, or was written before scores were recorded in it.
    """
    content = _content(folder / "comparison.json", "comparison")
    try:
        return _comparison(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(
            folder / "comparison.json", "comparison", "Compare again.", error
        ) from error


def _content(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise MissingPath(
            f"The folder of an {what} holds {path.name}.".replace("an comp", "a comp"),
            received=f"none in {path.parent}",
            cure="Check the spelling of the path.",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, "Write it again.", error) from error
    return content


def _unreadable(path: Path, what: str, cure: str, error: Exception) -> UnreadableFile:
    reason = str(error).splitlines()[0] if str(error) else ""
    return UnreadableFile(
        f"{path} must be the record of an {what} by this version.".replace("an comp", "a comp"),
        received=f"{type(error).__name__}: {reason}",
        cure=cure,
    )


def _evaluation(content: dict[str, Any]) -> Evaluation:
    record = content["inputs"]
    labels = tuple(Label.model_validate(one) for one in record["labels"])
    regions = tuple(Region(name, tuple(values)) for name, values in record["regions"].items())
    structures = Structures(labels, regions)
    settings = _adapter("settings").validate_python(record["settings"])
    keyed = structures.keyed()
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for row in content["cases"]:
        rows.setdefault(row["case"], {})[row["label"]] = row
    cases = tuple(_case(name, rows[name], record["cases"][name], keyed) for name in rows)
    by_label, overall = summarise(
        [list(case.scores.values()) for case in cases],
        [case.diagonal_mm for case in cases],
        [label.name for label in keyed],
    )
    left_out = [Pair(name, Path(path), None) for name, path in record["left_out"].items()]
    pairs = sorted([*(case.pair for case in cases), *left_out], key=lambda pair: pair.case)
    every = Pairs(tuple(pairs), tuple(content["without_reference"]))
    return Evaluation(cases, keyed, by_label, overall, every, settings, structures)


def _case(
    name: str, rows: Mapping[str, dict[str, Any]], record: dict[str, Any], labels: Labels
) -> CaseScores:
    pair = Pair(
        case=name,
        reference=Path(record["reference"]),
        predicted=_path(record["predicted"]),
        image=_path(record["image"]),
        resample=record["resample"],
        objects_of=record["objects_of"],
        ignored_value=record.get("ignored_value"),
    )
    value_of = {label.name: label.value for label in labels}

    def each(kind: str) -> dict[int, Any]:
        found = record.get(kind, {})
        return {value_of[n]: _adapter(kind).validate_python(one) for n, one in found.items()}

    objects = record.get("objects")
    return CaseScores(
        pair=pair,
        scores={label.value: _scores(rows[label.name]) for label in labels},
        diagonal_mm=next(iter(rows.values()))["diagonal_mm"],
        lesions=each("lesions"),
        objects=None if objects is None else _adapter("objects").validate_python(objects),
        calibration=each("calibration"),
        resampled=record["resampled"],
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _scores(row: dict[str, Any]) -> LabelScores:
    """The scores of a row; a distance that JSON could not hold is infinite."""
    numbers = {metric: _number(row, metric) for metric in METRICS}
    return LabelScores(
        status=row["status"],
        predicted_ml=row["predicted_ml"],
        reference_ml=row["reference_ml"],
        **numbers,
    )


def _number(row: dict[str, Any], metric: str) -> Any:
    number = row[metric]
    if number is not None or metric == "cldice":
        return number
    return math.inf if metric in (*DISTANCES, "relative_volume_difference") else math.nan


def _comparison(content: dict[str, Any]) -> Comparison:
    names = tuple(content["models"])
    means = content["means"]
    rankings = {label: _ranking(one, names) for label, one in content["ranking"].items()}
    numbers = {name: np.array(content["numbers"][name], np.float64) for name in names}
    return Comparison(
        names=names,
        metric=content["metric"],
        higher_is_better=content["higher_is_better"],
        cases=tuple(content["cases"]),
        labels=tuple(content["labels"]),
        numbers=numbers,
        means={name: {label: _mean(one) for label, one in means[name].items()} for name in names},
        lost={
            name: {label: one["missed_or_invented"] for label, one in means[name].items()}
            for name in names
        },
        differences=tuple(_difference(one) for one in content["differences"]),
        ranking=rankings.pop("mean"),
        rankings=rankings,
        headline=content["conclusion"],
        settings=content["settings"],
    )


def _mean(one: dict[str, Any]) -> Mean:
    return Mean(one["mean"], one["ci_low"], one["ci_high"], one["n"])


def _difference(one: dict[str, Any]) -> PairedDifference:
    kept = ("ci_low", "ci_high", "winner")
    numbers: dict[str, Any] = {
        key: math.nan if value is None and key not in kept else value for key, value in one.items()
    }
    return PairedDifference(**numbers)


def _ranking(one: dict[str, Any], names: tuple[str, ...]) -> Ranking:
    by_name = {model["model"]: model for model in one["models"]}
    models = [by_name[name] for name in names]
    return Ranking(
        names=names,
        means=tuple(model["mean"] for model in models),
        ranks=tuple(model["rank"] for model in models),
        low=tuple(model["rank_low"] for model in models),
        high=tuple(model["rank_high"] for model in models),
        shares=tuple(tuple(model["share_of_resamples_by_rank"]) for model in models),
        kendall_tau=one["kendall_tau"],
        kendall_tau_low=one["kendall_tau_low"],
    )


@lru_cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    """What turns JSON back into settings, lesions, objects or a calibration."""
    if kind == "settings":
        return TypeAdapter(ScoreSettings)
    if kind == "calibration":
        from medseg.metrics.calibration import Calibration

        return TypeAdapter(Calibration)
    from medseg.metrics.lesions import LesionScores, PanopticScores

    return TypeAdapter(LesionScores) if kind == "lesions" else TypeAdapter(PanopticScores)
