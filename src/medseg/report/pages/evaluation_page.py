"""`report.html` of an evaluation: did it work, how well, on what, and what to look at first."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.report.html import (
    COLOURS,
    ShownCase,
    Tile,
    counted,
    interval,
    key_of,
    render,
    shown,
    some,
)
from medseg.report.pages.evaluation_tables import (
    case_rows,
    confusion_cells,
    definitions,
    digits_of,
    first_table,
    lesion_table,
    more_table,
    object_table,
)
from medseg.report.pages.examples import Example, Looked, look_again, picture_labels
from medseg.report.plots.calibration_plots import reliability_diagram
from medseg.report.plots.score_plots import distributions
from medseg.report.plots.volume_plots import bland_altman, dice_against_volume
from medseg.report.scores.names import read_record
from medseg.report.scores.score import CaseScores, Evaluation
from medseg.volume.labels import Label

_LINES, _ROWS = 6, 400


def write_report(evaluation: Evaluation, path: Path, *, progress: Progress = SILENT) -> Path:
    """Write the page of an evaluation as one file that needs no other.

    Args:
        evaluation: What was scored; some cases are read again for their pictures.
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
    """What the numbers do not show: files without a partner or on another grid, a sentence each."""
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
    if evaluation.resampled:
        sentences.append(
            f"On another grid than the reference, and resampled: {some(evaluation.resampled)}."
        )
    return sentences


def _content(evaluation: Evaluation, progress: Progress) -> dict[str, Any]:
    count = len(evaluation.cases)
    rows = case_rows(evaluation)
    lost = evaluation.overall.missed + evaluation.overall.false_positive
    looked = look_again(evaluation, progress=progress)
    return {
        "title": f"Evaluation of {counted(count, 'case')}",
        "headline": _headline(evaluation),
        "lead": _lead(evaluation),
        "first_look": _first_look(evaluation, looked),
        "tiles": _tiles(evaluation),
        "notices": remarks(evaluation),
        "first": first_table(evaluation),
        "more": more_table(evaluation),
        "lesions": lesion_table(evaluation),
        "objects": object_table(evaluation),
        "examples": [_shown_case(one, evaluation) for one in looked.examples],
        "labels": key_of(picture_labels(evaluation)),
        "colours": COLOURS,
        "distributions": Markup(distributions(evaluation)),
        "volumes": Markup(dice_against_volume(evaluation)) if count > 1 else "",
        "agreement": Markup(bland_altman(evaluation)) if count > 1 else "",
        "reliability": Markup(reliability_diagram(evaluation)),
        "confusion": confusion_cells(looked.confusion) if looked.confusion else None,
        "confusion_of": _confusion_of(looked, count),
        "lost": counted(lost, "cross") if lost else "",
        "case_rows": rows[:_ROWS],
        "left_out": len(rows) - len(rows[:_ROWS]),
        "definitions": definitions(evaluation),
        "facts": _facts(evaluation),
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


def _first_look(evaluation: Evaluation, looked: Looked) -> str:
    """Which case to open first, and why."""
    if len(evaluation.cases) < 2 or not looked.examples:
        return ""
    first = looked.examples[0].case
    lost = [
        label.name
        for label in evaluation.labels
        if first.scores[label.value].status in ("missed", "false_positive")
    ]
    why = f", where {some(lost, 'structure')} went missing or was invented" if lost else ""
    return f"Look first at {first.pair.case}, the lowest: mean Dice {first.mean_dice:.3f}{why}."


def _tiles(evaluation: Evaluation) -> list[Tile]:
    overall = evaluation.overall
    means, lost = overall.means, overall.missed + overall.false_positive
    tiles = []
    for metric, name, unit in (
        ("dice", "Dice", ""),
        ("hd95", "HD95 where found", "mm"),
        ("nsd", f"Surface Dice at {evaluation.tolerance_mm:g} mm", ""),
    ):
        one, digits = means[metric], digits_of(metric)
        spread = interval(one.ci_low, one.ci_high, digits)
        words = [f"95 %: {spread}"] if spread else []
        if lost and one.penalised is not None:
            words.append(f"penalised {shown(one.penalised, digits)}")
        tiles.append(Tile(name, shown(one.mean, digits), unit, "; ".join(words)))
    split = f"{overall.missed} missed, {overall.false_positive} invented"
    tiles.append(Tile("Missed or invented", str(lost), f"of {overall.n}", split, bad=lost > 0))
    return tiles


def _shown_case(example: Example, evaluation: Evaluation) -> ShownCase:
    case, labels = example.case, evaluation.labels
    weakest = sorted(labels, key=lambda label: case.scores[label.value].dice)
    chosen = labels if len(weakest) <= _LINES else weakest[:_LINES]
    lines = [f"mean Dice {case.mean_dice:.3f}", *(_line(case, label) for label in chosen)]
    if len(weakest) > _LINES:
        lines.append(f"{len(weakest) - _LINES} others better")
    name = case.pair.case
    return ShownCase(name, tuple(lines), example.drawing, example.remark, example.role)


def _line(case: CaseScores, label: Label) -> str:
    scores = case.scores[label.value]
    if scores.status == "ok":
        return f"{label.name} {scores.dice:.3f}, HD95 {scores.hd95:.2f} mm"
    words = {"missed": "missed", "false_positive": "invented", "both_empty": "absent, rightly"}
    return f"{label.name} {words[scores.status]}"


def _confusion_of(looked: Looked, count: int) -> str:
    if looked.read == count:
        return f"All {counted(count, 'case')}."
    return f"{looked.read} of {count} cases, evenly from the lowest to the best."


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was compared, by which definitions, and with which model."""
    settings, pairs = evaluation.settings, evaluation.pairs
    predicted = next(
        (case.pair.predicted for case in evaluation.cases if case.pair.predicted), None
    )
    facts = [("References", str(pairs.all[0].reference.parent))] if pairs.all else []
    if predicted is not None:
        facts.append(("Predictions", str(predicted.parent)))
        bundle = read_record(predicted.parent).get("bundle")
        if isinstance(bundle, dict):
            facts.append(("Model", str(bundle.get("name", ""))))
            facts.append(("SHA-256 of its weights", str(bundle.get("weights_sha256", ""))))
    if pairs.dataset is not None:
        facts.append(("Data set", pairs.dataset.name))
    facts += [
        ("Surface", settings.surface),
        ("HD95", "maximum of the two directed percentiles"),
        ("ASSD", "pooled over both directions"),
        ("Tolerance of the surface Dice", f"{settings.tolerance_mm:g} mm"),
    ]
    facts += [(f"Tolerance, {name}", f"{mm:g} mm") for name, mm in settings.tolerances_mm.items()]
    facts += [
        (f"Region {one.name}", f"values {', '.join(map(str, one.values))}")
        for one in evaluation.structures.regions
    ]
    return facts
