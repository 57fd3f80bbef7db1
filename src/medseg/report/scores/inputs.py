"""What an evaluation was made from, for its `scores.json`: files, names and definitions."""

import math
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from medseg.report.scores.pairs import Pair
from medseg.report.scores.score import CaseScores, Evaluation
from medseg.volume.labels import Labels


def inputs_of(evaluation: Evaluation) -> dict[str, Any]:
    """All that a page needs beside the scores; `medseg.report.scores.recorded` reads it back.

    Numbers that JSON does not know are the words "inf", "-inf" and "nan".
    """
    structures, scored = evaluation.structures, {case.pair.case for case in evaluation.cases}
    left_out = [pair for pair in evaluation.pairs.all if pair.case not in scored]
    return {
        "labels": [one.model_dump(mode="json", exclude_none=True) for one in structures.labels],
        "regions": {one.name: list(one.values) for one in structures.regions},
        "settings": _plain(evaluation.settings),
        "cases": {case.pair.case: _case(case, evaluation.labels) for case in evaluation.cases},
        "left_out": {pair.case: _absolute(pair.reference) for pair in left_out},
    }


def _case(case: CaseScores, labels: Labels) -> dict[str, Any]:
    pair = case.pair
    content: dict[str, Any] = {
        "reference": _absolute(pair.reference),
        "predicted": _absolute(pair.predicted),
        "image": _absolute(_image(pair)),
        "resample": pair.resample,
        "objects_of": pair.objects_of,
        "ignored_value": pair.ignored_value,
        "resampled": case.resampled,
    }
    names = {label.value: label.name for label in labels}
    for kind, found in (("lesions", case.lesions), ("calibration", case.calibration)):
        if found:
            content[kind] = {names[value]: _plain(one) for value, one in found.items()}
    if case.objects is not None:
        content["objects"] = _plain(case.objects)
    return content


def _image(pair: Pair) -> Path | None:
    """The file that is shown: the first channel's, where each has its own."""
    return pair.entry.images[0] if pair.entry is not None else pair.image


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as JSON holds them."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
