"""The tables of an evaluation's page: means by structure, every case, lesions, confusion, words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medseg.report.html import Cell, interval, shown
from medseg.report.plots.confusion import Confusion
from medseg.report.scores.details import detection_of, objects_of
from medseg.report.scores.score import Evaluation
from medseg.report.scores.summary import DISTANCES, TITLES, LabelSummary
from medseg.report.scores.tables import DEFINITIONS, SURFACES
from medseg.volume.labels import colour_of

_FIRST = ("dice", "hd95", "assd", "nsd", "volume_difference_ml")
_MORE = (
    "iou", "sensitivity", "precision", "specificity", "boundary_iou", "cldice", "hd",
    "hd95_pooled", "assd_averaged", "rmsd", "relative_volume_difference",
)  # fmt: skip
_SIGNED = ("volume_difference_ml", "relative_volume_difference")
_MOST_CONFUSED = 12


@dataclass(frozen=True)
class Table:
    """A table by structure.

    Attributes:
        columns: Titles of the columns after the first.
        rows: Each a mapping of name, colour, whether it is the total, and cells.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


def digits_of(metric: str) -> int:
    """How many digits of a score mean something."""
    if metric == "specificity":
        return 4
    return 2 if metric in (*DISTANCES, "volume_difference_ml") else 3


def first_table(evaluation: Evaluation) -> Table:
    """The scores that are read first, and what was missed or invented."""
    columns = (*(_title(metric, evaluation) for metric in _FIRST), "Missed", "Invented", "Cases")

    def cells(summary: LabelSummary) -> list[Cell]:
        return [
            *(_cell(summary, metric) for metric in _FIRST),
            Cell(str(summary.missed), bad=summary.missed > 0),
            Cell(str(summary.false_positive), bad=summary.false_positive > 0),
            Cell(str(summary.n), f"{summary.both_empty} both empty" if summary.both_empty else ""),
        ]

    return Table(columns, tuple(_rows(evaluation, cells)))


def more_table(evaluation: Evaluation) -> Table:
    """All other scores; penalised means where something was missed or invented."""
    means = [one.means for one in evaluation.by_label.values()]
    there = [m for m in _MORE if any(one[m].mean is not None for one in means)]
    lost = evaluation.overall.missed + evaluation.overall.false_positive
    penalised = ("hd95", "assd") if lost else ()

    def cells(summary: LabelSummary) -> list[Cell]:
        return [
            *(_cell(summary, metric) for metric in there),
            *(Cell(shown(summary.means[metric].penalised, 2)) for metric in penalised),
        ]

    columns = (
        *(_title(metric, evaluation) for metric in there),
        *(f"{TITLES[metric]}, penalised" for metric in penalised),
    )
    return Table(columns, tuple(_rows(evaluation, cells)))


def lesion_table(evaluation: Evaluation) -> Table | None:
    """Lesions found and invented, where they were asked for."""
    rows = []
    for label in evaluation.labels:
        one = detection_of(evaluation, label)
        if one is not None:
            cells = [
                Cell(f"{one.found} of {one.reference_lesions}"), Cell(str(one.invented)),
                Cell(shown(one.f1, 3)), Cell(shown(one.sensitivity, 3)),
                Cell(shown(one.precision, 3)), Cell(shown(one.mean_lesion_dice, 3)),
            ]  # fmt: skip
            rows.append(_row(label.name, colour_of(evaluation.labels, label), cells))
    columns = ("Found", "Invented", "F1", "Sensitivity", "Precision", "Mean Dice of a lesion")
    return Table(columns, tuple(rows)) if rows else None


def object_table(evaluation: Evaluation) -> Table | None:
    """Panoptic quality, where masks number objects."""
    one = objects_of(evaluation)
    if one is None:
        return None
    means = (one.pq, one.sq, one.rq)
    cells = [
        *(Cell(shown(x.mean, 3), interval(x.ci_low, x.ci_high, 3)) for x in means),
        Cell(str(one.tp)), Cell(str(one.fn), bad=one.fn > 0), Cell(str(one.fp), bad=one.fp > 0),
    ]  # fmt: skip
    columns = (
        "Panoptic quality", "Segmentation quality", "Recognition quality", "Matched", "Missed",
        "Invented",
    )  # fmt: skip
    return Table(columns, (_row("Objects", "", cells),))


@dataclass(frozen=True)
class Shade:
    """One cell of a confusion: its words, how strongly it is coloured, and whether it is right."""

    text: str
    strength: float
    right: bool


def confusion_cells(confusion: Confusion) -> tuple[tuple[str, ...], list[tuple[str, list[Shade]]]]:
    """Names of the columns, and each row of a confusion in percent.

    Of more than twelve structures those are shown of which the smallest share was found.
    """
    if len(confusion.names) > _MOST_CONFUSED + 1:
        confusion = confusion.most_confused(_MOST_CONFUSED)
    rows = []
    for n, (name, shares) in enumerate(zip(confusion.names, confusion.shares, strict=True)):
        shades = [
            Shade(_percent(float(x)) if n or m else "", _strength(float(x)), right=n == m)
            for m, x in enumerate(shares)
        ]
        rows.append((name, shades))
    return confusion.names, rows


def case_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """One row for each case and structure, the lowest Dice first."""
    rows = [
        (case.scores[label.value], case, label)
        for case in evaluation.cases
        for label in evaluation.labels
    ]
    rows.sort(key=lambda row: (row[0].dice, row[1].pair.case))
    return [
        (
            case.pair.case,
            label.name,
            scores.status.replace("_", " ").replace("false positive", "invented"),
            shown(scores.dice, 3),
            _distance(scores.hd95),
            _distance(scores.assd),
            shown(scores.nsd, 3),
            f"{scores.reference_ml:.3g}",
            f"{scores.predicted_ml:.3g}",
        )
        for scores, case, label in rows
    ]


def definitions(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What each word of the page means, by the definitions that were chosen."""
    extra = {
        "surface": "Surface", "surface_definitions": "Surfaces", "mean": "Means",
        "penalised": "Penalised means", "interval": "Intervals",
    }  # fmt: skip
    meanings = {**DEFINITIONS, "surface": SURFACES[evaluation.settings.surface]}
    return [
        (
            TITLES[key].removesuffix(" mm").removesuffix(" ml")
            if key in TITLES
            else extra.get(key, key.replace("_", " ")),
            f"{meaning[0].upper()}{meaning[1:]}.",
        )
        for key, meaning in meanings.items()
    ]  # fmt: skip


def _title(metric: str, evaluation: Evaluation) -> str:
    if metric == "nsd":
        return f"Surface Dice at {evaluation.tolerance_mm:g} mm"
    return TITLES[metric]


def _rows(evaluation: Evaluation, cells: Any) -> list[dict[str, Any]]:
    rows = [
        _row(
            label.name, colour_of(evaluation.labels, label), cells(evaluation.by_label[label.name])
        )
        for label in evaluation.labels
    ]
    if len(rows) > 1:
        rows.append(_row("All structures", "", cells(evaluation.overall), total=True))
    return rows


def _row(name: str, colour: str, cells: Sequence[Cell], *, total: bool = False) -> dict[str, Any]:
    return {"name": name, "colour": colour, "cells": list(cells), "total": total}


def _cell(summary: LabelSummary, metric: str) -> Cell:
    one, digits = summary.means[metric], digits_of(metric)
    number = shown(one.mean, digits)
    if metric in _SIGNED and one.mean is not None:
        number = f"{round(one.mean, digits) + 0.0:+.{digits}f}".replace("-", "\u2212")
    spread = interval(one.ci_low, one.ci_high, digits).replace("-", "\u2212")
    return Cell(number, spread)


def _percent(share: float) -> str:
    if not math.isfinite(share) or share == 0:
        return ""
    percent = 100 * share
    if percent < 0.1:
        return "<0.1"
    return f"{percent:.1f}" if percent < 99.95 else "100"


def _strength(share: float) -> float:
    return round(share, 3) if math.isfinite(share) else 0.0


def _distance(distance_mm: float) -> str:
    return f"{distance_mm:.2f}" if math.isfinite(distance_mm) else "infinite"
