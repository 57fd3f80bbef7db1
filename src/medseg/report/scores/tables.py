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
from medseg.report.scores.details import columns_of, detail_row, details_of
from medseg.report.scores.inputs import inputs_of
from medseg.report.scores.score import CaseScores, Evaluation
from medseg.report.scores.score_one import LESION_MATCHING, OBJECT_MATCHING
from medseg.report.scores.summary import DISTANCES, METRICS, LabelSummary

DEFINITIONS = {
    "dice": "twice the shared voxels over the sum of both; both empty 1, one empty 0",
    "iou": "shared voxels over voxels in either; both empty 1, one empty 0",
    "hd": "largest surface distance in mm; both empty 0, one empty infinite (null)",
    "hd95": "larger of the two directed 95th percentiles of the surface distances, in mm",
    "assd": "mean of the surface distances of both directions together, in mm",
    "nsd": "share of both surfaces that lies within the tolerance of the other surface",
    "sensitivity": "share of the reference that was found",
    "precision": "share of the prediction that is right",
    "specificity": "share of all voxels outside the reference that the prediction left out too",
    "volume_difference_ml": "predicted minus reference volume",
    "relative_volume_difference": "the same over the reference volume; infinite (null) if invented",
    "hd95_pooled": "95th percentile of the surface distances of both directions together, in mm",
    "assd_averaged": "mean of the two directed mean surface distances, in mm",
    "rmsd": "root of the mean squared surface distance of both directions together, in mm",
    "boundary_iou": "IoU of what lies in each mask within the tolerance of its outside",
    "cldice": "share of each centre line in the other mask, as a harmonic mean; tubes only",
    "lesions": "connected parts, by faces, edges and corners; those that share a voxel may be a "
    "pair, and of all ways to pair them the one with the largest sum of IoU is taken",
    "objects": "numbered objects; pairs have an IoU above 0.5 (panoptic quality)",
    "surface": "what a surface is made of; see surface_definitions",
    "mean": "overlaps: over all cases; distances: over cases where both masks hold the structure",
    "penalised": "distances over all but both-empty cases, one empty mask counting the diagonal",
    "interval": "95 % percentile bootstrap over cases, seeded",
}

SURFACES = {
    "elements": "triangles between voxel corners, weighted by area, as surface-distance",
    "borders": "voxels with a face neighbour outside, between centres, as MONAI and MedPy",
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
    content = {
        "cases": score_rows(evaluation),
        "summary": {**summary, "mean": _summary(evaluation.overall)},
        "missing_predictions": list(evaluation.missing),
        "not_scored": sorted(set(evaluation.pairs.missing) - set(evaluation.missing)),
        "without_reference": list(evaluation.pairs.extra),
        "resampled": list(evaluation.resampled),
        "tolerance_mm": evaluation.tolerance_mm,
        "settings": settings_of(evaluation),
        "inputs": inputs_of(evaluation),
        "definitions": {**DEFINITIONS, "surface": SURFACES[evaluation.settings.surface]},
        "medseg_version": __version__,
    }
    return content | details_of(evaluation)


def settings_of(evaluation: Evaluation) -> dict[str, Any]:
    """The definitions by name, as JSON holds them."""
    settings = evaluation.settings
    names = evaluation.structures.names
    return {
        "surface": settings.surface,
        "hd95": "maximum of the two directed percentiles",
        "assd": "pooled",
        "tolerances_mm": {name: settings.tolerance_of(name) for name in names},
        "regions": {one.name: list(one.values) for one in evaluation.structures.regions},
        "tubes": list(settings.tubes),
        "lesions": list(settings.lesions),
        "lesion_matching": LESION_MATCHING,
        "object_matching": OBJECT_MATCHING,
    }


def score_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row for each case and structure; None for what is infinite or not defined."""
    further = columns_of(evaluation)
    return [row for case in evaluation.cases for row in _rows_of(case, evaluation, further)]


def _rows_of(
    case: CaseScores, evaluation: Evaluation, further: tuple[str, ...]
) -> list[dict[str, Any]]:
    rows = []
    for label in evaluation.labels:
        scores = case.scores[label.value]
        row: dict[str, Any] = {"case": case.pair.case, "label": label.name}
        row |= {metric: _finite(getattr(scores, metric)) for metric in METRICS}
        row |= {
            "status": scores.status,
            "predicted_ml": scores.predicted_ml,
            "reference_ml": scores.reference_ml,
            "diagonal_mm": case.diagonal_mm,
        }
        rows.append(row | detail_row(case, label, further))
    return rows


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


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
