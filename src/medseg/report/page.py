"""`report.html` of an evaluation: did it work, how well, on what, and what to look at first."""

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medseg.errors import MedsegError
from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.report.html import (
    COLOURS,
    Cell,
    ShownCase,
    Tile,
    counted,
    interval,
    key_of,
    render,
    shown,
    some,
)
from medseg.report.plots import dice_against_volume, distributions
from medseg.report.score import CaseScores, Evaluation
from medseg.report.summary import LabelSummary
from medseg.report.tables import DEFINITIONS
from medseg.report.triptych import Triptych, draw_case, worst_cases
from medseg.volume.labels import Label, colour_of

_WORST, _LINES, _ROWS = 5, 6, 400
_DIGITS = {"dice": 3, "iou": 3, "nsd": 3, "hd": 2, "hd95": 2, "assd": 2}


def write_report(evaluation: Evaluation, path: Path, *, progress: Progress = SILENT) -> Path:
    """Write the page of an evaluation as one file that needs no other.

    Args:
        evaluation: What was scored; the worst cases are read again for their pictures.
        path: Where the page shall be.
        progress: Told after each picture.

    Returns:
        `path`.

    Raises:
        CannotWrite: If the page cannot be written.
    """
    write_text(path, render("evaluation.html.j2", _content(evaluation, progress)))
    return path


def remarks(evaluation: Evaluation) -> list[str]:
    """What the numbers do not show: files without a partner, one sentence each."""
    missing, extra = evaluation.missing, evaluation.pairs.extra
    left_out = sorted(set(evaluation.pairs.missing) - set(missing))
    sentences = []
    if missing:
        sentences.append(
            f"No prediction for {some(missing)}: every structure there counts as missed. "
            "--only-predicted leaves such cases out."
        )
    if left_out:
        sentences.append(f"No prediction for {some(left_out)}: left out of all numbers.")
    if extra:
        sentences.append(f"No reference for {some(extra)}: not scored.")
    return sentences


def _content(evaluation: Evaluation, progress: Progress) -> dict[str, Any]:
    count = len(evaluation.cases)
    rows = _case_rows(evaluation)
    lost = evaluation.overall.missed + evaluation.overall.false_positive
    return {
        "title": f"Evaluation of {counted(count, 'case')}",
        "headline": _headline(evaluation),
        "lead": _lead(evaluation),
        "tiles": _tiles(evaluation),
        "notices": remarks(evaluation),
        "columns": _columns(evaluation.tolerance_mm),
        "rows": _rows(evaluation),
        "worst": _worst(evaluation, progress),
        "labels": key_of(evaluation.labels),
        "colours": COLOURS,
        "distributions": Markup(distributions(evaluation)),
        "volumes": Markup(dice_against_volume(evaluation)) if count > 1 else "",
        "lost": counted(lost, "cross") if lost else "",
        "case_rows": rows[:_ROWS],
        "left_out": len(rows) - len(rows[:_ROWS]),
        "definitions": _definitions(evaluation.tolerance_mm),
    }


def _headline(evaluation: Evaluation) -> str:
    dice = shown(evaluation.overall.means["dice"].mean, 3)
    return f"Mean Dice {dice} on {counted(len(evaluation.cases), 'case')}"


def _lead(evaluation: Evaluation) -> str:
    """Best and worst structure, and how many were missed or invented."""
    means = {name: one.means["dice"].mean or 0.0 for name, one in evaluation.by_label.items()}
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    scored = f"One structure was scored: {low}."
    if len(means) > 1:
        scored = (
            f"The best of {len(means)} structures is {high} ({means[high]:.3f}), "
            f"the weakest {low} ({means[low]:.3f})."
        )
    missed, invented = evaluation.overall.missed, evaluation.overall.false_positive
    if missed + invented == 0:
        return f"{scored} None was missed or invented."
    return f"{scored} Missed: {missed}. Invented: {invented}."


def _tiles(evaluation: Evaluation) -> list[Tile]:
    overall = evaluation.overall
    means, lost = overall.means, overall.missed + overall.false_positive
    tiles = []
    for metric, name, unit in (
        ("dice", "Dice", ""),
        ("hd95", "HD95 where found", "mm"),
        ("nsd", f"Surface Dice at {evaluation.tolerance_mm:g} mm", ""),
    ):
        one, digits = means[metric], _DIGITS[metric]
        spread = interval(one.ci_low, one.ci_high, digits)
        words = [f"95 %: {spread}"] if spread else []
        if lost and one.penalised is not None:
            words.append(f"penalised {shown(one.penalised, digits)}")
        tiles.append(Tile(name, shown(one.mean, digits), unit, "; ".join(words)))
    split = f"{overall.missed} missed, {overall.false_positive} invented"
    tiles.append(Tile("Missed or invented", str(lost), f"of {overall.n}", split, bad=lost > 0))
    return tiles


def _columns(tolerance_mm: float) -> tuple[str, ...]:
    surface = f"Surface Dice at {tolerance_mm:g} mm"
    return (
        "Dice",
        "IoU",
        "HD95 mm",
        "ASSD mm",
        surface,
        "Missed",
        "Invented",
        "Both empty",
        "Cases",
    )


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "name": label.name,
            "colour": colour_of(evaluation.labels, label),
            "cells": _cells(evaluation.by_label[label.name]),
            "total": False,
        }
        for label in evaluation.labels
    ]
    if len(rows) > 1:
        cells = _cells(evaluation.overall)
        rows.append({"name": "All structures", "colour": "", "cells": cells, "total": True})
    return rows


def _cells(summary: LabelSummary) -> list[Cell]:
    cells = []
    for metric in ("dice", "iou", "hd95", "assd", "nsd"):
        one, digits = summary.means[metric], _DIGITS[metric]
        cells.append(Cell(shown(one.mean, digits), interval(one.ci_low, one.ci_high, digits)))
    return [
        *cells,
        Cell(str(summary.missed), bad=summary.missed > 0),
        Cell(str(summary.false_positive), bad=summary.false_positive > 0),
        Cell(str(summary.both_empty)),
        Cell(str(summary.n)),
    ]


def _worst(evaluation: Evaluation, progress: Progress) -> list[ShownCase]:
    cases = worst_cases(evaluation, _WORST)
    found = []
    with progress.task("Drawing the worst cases", len(cases)) as task:
        for case in cases:
            found.append(_shown_case(case, evaluation))
            task.advance()
    return found


def _shown_case(case: CaseScores, evaluation: Evaluation) -> ShownCase:
    drawing: Triptych | None = None
    remark = ""
    try:
        drawing = draw_case(case.pair, evaluation.pairs.dataset, evaluation.labels)
    except MedsegError as error:
        remark = f"No picture: {error}"
    weakest = sorted(evaluation.labels, key=lambda label: case.scores[label.value].dice)
    chosen = evaluation.labels if len(weakest) <= _LINES else weakest[:_LINES]
    lines = [f"mean Dice {case.mean_dice:.3f}", *(_line(case, label) for label in chosen)]
    if len(weakest) > _LINES:
        lines.append(f"{len(weakest) - _LINES} others better")
    return ShownCase(case.pair.case, tuple(lines), drawing, remark)


def _line(case: CaseScores, label: Label) -> str:
    scores = case.scores[label.value]
    if scores.status == "ok":
        return f"{label.name} {scores.dice:.3f}, HD95 {scores.hd95:.2f} mm"
    words = {"missed": "missed", "false_positive": "invented", "both_empty": "absent, rightly"}
    return f"{label.name} {words[scores.status]}"


def _case_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
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


def _distance(distance_mm: float) -> str:
    return f"{distance_mm:.2f}" if math.isfinite(distance_mm) else "infinite"


def _definitions(tolerance_mm: float) -> list[tuple[str, str]]:
    names = {
        "dice": "Dice", "iou": "IoU", "hd": "HD", "hd95": "HD95", "assd": "ASSD",
        "nsd": f"Surface Dice at {tolerance_mm:g} mm (NSD)", "surface": "Surface",
        "mean": "Means", "penalised": "Penalised means", "interval": "Intervals",
    }  # fmt: skip
    return [
        (names[key], f"{meaning[0].upper()}{meaning[1:]}.") for key, meaning in DEFINITIONS.items()
    ]
