"""An evaluation as files: `scores.csv` for spreadsheets and `scores.json` for programs."""

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.files import write_text
from medseg.report.score import CaseScores, Evaluation
from medseg.report.summary import DISTANCES, METRICS, LabelSummary

DEFINITIONS = {
    "dice": "twice the shared voxels over the sum of both; both empty 1, one empty 0",
    "iou": "shared voxels over voxels in either; both empty 1, one empty 0",
    "hd": "largest surface distance in mm; both empty 0, one empty infinite (null)",
    "hd95": "larger of the two directed 95th percentiles of the surface distances, in mm",
    "assd": "mean of the surface distances of both directions together, in mm",
    "nsd": "share of both surfaces' voxels within the tolerance of the other surface",
    "surface": "voxels of the mask with a face neighbour outside it; distances between centres",
    "mean": "overlaps: over all cases; distances: over cases where both masks hold the structure",
    "penalised": "distances over all but both-empty cases, one empty mask counting the diagonal",
    "interval": "95 % percentile bootstrap over cases, seeded",
}


def save_scores(evaluation: Evaluation, out: Path) -> None:
    """Write `scores.csv` and `scores.json` into a folder.

    Raises:
        CannotWrite: If the folder cannot be written.
    """
    rows = score_rows(evaluation)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "scores.csv", text.getvalue())
    write_text(out / "scores.json", json.dumps(as_json(evaluation), indent=1, allow_nan=False))


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything as JSON holds it: infinite distances are null, and `status` says why."""
    summary = {name: _summary(one) for name, one in evaluation.by_label.items()}
    return {
        "cases": score_rows(evaluation),
        "summary": {**summary, "mean": _summary(evaluation.overall)},
        "missing_predictions": list(evaluation.missing),
        "not_scored": sorted(set(evaluation.pairs.missing) - set(evaluation.missing)),
        "without_reference": list(evaluation.pairs.extra),
        "tolerance_mm": evaluation.tolerance_mm,
        "definitions": DEFINITIONS,
        "medseg_version": __version__,
    }


def score_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row for each case and structure; None for an infinite distance."""
    return [row for case in evaluation.cases for row in _rows_of(case, evaluation)]


def _rows_of(case: CaseScores, evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for label in evaluation.labels:
        scores = case.scores[label.value]
        row: dict[str, Any] = {"case": case.pair.case, "label": label.name}
        for metric in METRICS:
            number = getattr(scores, metric)
            row[metric] = number if math.isfinite(number) else None
        row |= {
            "status": scores.status,
            "predicted_ml": scores.predicted_ml,
            "reference_ml": scores.reference_ml,
        }
        rows.append(row)
    return rows


def _summary(summary: LabelSummary) -> dict[str, Any]:
    means = {
        metric: {
            key: value
            for key, value in asdict(summary.means[metric]).items()
            if key != "penalised" or metric in DISTANCES
        }
        for metric in METRICS
    }
    counts = ("n", "both_empty", "missed", "false_positive")
    return {**means, "counts": {name: getattr(summary, name) for name in counts}}
