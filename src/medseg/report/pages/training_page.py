"""`report.html` of a training: how well, how it learned, what was planned and why."""

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from medseg.files import write_text
from medseg.report.html import Cell, Tile, counted, duration, interval, render, shown
from medseg.report.pages.records import Numbers, RunRecords, dice_table, read_run
from medseg.report.pages.training_choices import (
    calibration_rows,
    candidate_rows,
    choice_sentence,
    step_rows,
)
from medseg.report.plots.score_plots import Strip, strip_panels
from medseg.report.plots.training_plots import Curve, curves
from medseg.report.scores.summary import mean_of
from medseg.volume.labels import PALETTE

_WORST = 5


def write_training_report(run_folder: Path, path: Path | None = None) -> Path:
    """Write the page of a training from what lies in its folder.

    A part that is missing, or a run that has not ended, leaves out its section.

    Args:
        run_folder: Holds `metrics.json`, `log.csv`, `plan.json` and `bundle/`, or some of them.
        path: Where the page shall be; None for `report.html` in that folder.

    Returns:
        The page.

    Raises:
        MissingPath: If the folder holds no part of a run.
        CannotWrite: If the page cannot be written.
    """
    path = path or run_folder / "report.html"
    write_text(path, render("training.html.j2", _content(read_run(run_folder))))
    return path


def _content(run: RunRecords) -> dict[str, Any]:
    cases, dice = dice_table(run.metrics, run.labels)
    headline = _headline(run, dice)
    return {
        "title": headline,
        "headline": headline,
        "lead": _lead(run),
        "dataset": run.plan.get("dataset", ""),
        "tiles": _tiles(run, dice),
        "notices": _notices(run),
        "curves": Markup(_curves(run)),
        "measured_on": run.measured_on,
        "rows": _rows(run.labels, dice),
        "strips": Markup(_strips(run.labels, cases, dice)),
        "structures": run.labels,
        "worst": _worst(cases, dice),
        "candidates": candidate_rows(run.metrics),
        "choice": choice_sentence(run.metrics),
        "steps": step_rows(run.metrics),
        "calibration": calibration_rows(run.metrics),
        "reasons": run.reasons,
        "facts": _facts(run),
    }


def _headline(run: RunRecords, dice: Numbers) -> str:
    mean = mean_of(dice).mean if dice.size else None
    if mean is None:
        return "A training without a score yet"
    return f"Mean Dice {mean:.3f} on {counted(len(dice), 'case')}"


def _lead(run: RunRecords) -> str:
    """What was trained, how long, on what machine."""
    metrics, words = run.metrics, []
    if run.plan:
        kind = str(run.plan.get("network", {}).get("kind", "network")).replace("_", " ")
        kind = kind.replace("unet", "U-Net")
        words.append(f"Configuration {run.plan.get('config', 'unknown')}, {kind}")
    if "parameters" in metrics:
        words.append(f"{metrics['parameters']:,} weights")
    if "steps" in metrics:
        words.append(f"{metrics['steps']:,} steps")
    if "seconds" in metrics:
        words.append(f"{duration(metrics['seconds'])} on {metrics.get('device', 'this machine')}")
    return ", ".join(words) + "." if words else ""


def _tiles(run: RunRecords, dice: Numbers) -> list[Tile]:
    metrics, tiles = run.metrics, []
    if dice.size:
        every = mean_of(dice)
        spread = interval(every.ci_low, every.ci_high, 3)
        tiles.append(Tile("Mean Dice", shown(every.mean, 3), "", spread and f"95 %: {spread}"))
    means = {name: mean_of(dice[:, [n]]).mean for n, name in enumerate(run.labels)}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if len(known) > 1:
        low = min(known, key=known.__getitem__)
        tiles.append(Tile("Weakest structure", shown(known[low], 3), "", low))
    if "seconds" in metrics:
        share = metrics.get("training_seconds")
        words = "" if share is None else f"{duration(share)} of it on steps"
        tiles.append(Tile("Time", duration(metrics["seconds"]), "", words))
    if "samples_per_second" in metrics:
        words = f"{metrics['samples']:,} in all" if "samples" in metrics else ""
        tiles.append(Tile("Patches", f"{metrics['samples_per_second']:.1f}", "a second", words))
    return tiles


def _notices(run: RunRecords) -> list[str]:
    sentences = []
    if not run.metrics:
        sentences.append("This run has not ended: go on with medseg train --resume.")
    elif "held out" not in run.measured_on:
        sentences.append(
            f"The Dice was measured on {run.measured_on}: it says nothing about new cases."
        )
    if not run.metrics:
        sentences += [
            f"At {share:.0%} of fold {fold} a Dice of {told} was expected at its end."
            for fold, log in run.folds.items()
            for share, told in _foretold(log)[-1:]
        ]
    for fold in run.metrics.get("folds", []):
        sentences += [
            f"Fold {fold['fold']}: {one['sentence']}" for one in fold.get("incidents", ())
        ]
        if fold.get("stopped_early"):
            sentences.append(
                f"Fold {fold['fold']} ended before its time: held-out cases gained no more."
            )
    return sentences


def _foretold(log: dict[str, Numbers]) -> list[tuple[float, str]]:
    """Forecasts of the final Dice as they came: share of the training, and the Dice in words."""
    if not {"share", "forecast_dice", "forecast_error"} <= set(log):
        return []
    rows = zip(log["share"], log["forecast_dice"], log["forecast_error"], strict=True)
    return [(float(s), f"{d:.3f} ± {e:.3f}") for s, d, e in rows if np.isfinite(d)]


def _curves(run: RunRecords) -> str:
    """Loss, Dice, learning rate and seconds; over minutes for one fold, over steps for several."""
    logs = {fold: log for fold, log in run.folds.items() if {"step", "loss"} <= set(log)}
    if not any(len(log["step"]) > 1 for log in logs.values()):
        return ""
    alone = len(logs) == 1
    panels: dict[str, list[Curve]] = {
        "Loss": [], "Dice": [], "Learning rate": [], "Seconds a step": [],
    }  # fmt: skip
    for n, (fold, log) in enumerate(logs.items()):
        x = log["seconds"] / 60 if alone and "seconds" in log else log["step"]
        word = "" if alone else f"fold {fold}"
        colour = PALETTE[n % len(PALETTE)]
        panels["Loss"].append(Curve(word, x, log["loss"], colour))
        panels["Learning rate"].append(Curve(word, x, log.get("learning_rate", x * np.nan), colour))
        panels["Seconds a step"].append(Curve(word, x, _step_seconds(log), colour))
        learned = log.get("batch_dice", x * np.nan)
        held_out = log.get("validation_dice", log.get("dice", x * np.nan))
        both = bool(np.isfinite(learned).any() and np.isfinite(held_out).any())
        names = ("training patches", "held-out cases") if alone else (word, "")
        second = PALETTE[1] if alone and both else colour
        panels["Dice"].append(Curve(names[0], x, learned, colour))
        panels["Dice"].append(Curve(names[1], x, held_out, second, dots=True))
    kept = {
        title: tuple(curve for curve in lines if np.isfinite(curve.y).any())
        for title, lines in panels.items()
    }
    shown_panels = {title: lines for title, lines in kept.items() if lines}
    in_minutes = alone and all("seconds" in log for log in logs.values())
    return curves(shown_panels, "Minutes" if in_minutes else "Steps") if shown_panels else ""


def _step_seconds(log: dict[str, Numbers]) -> Numbers:
    """Wall seconds of a step between two rows of the log, all of its work included."""
    steps, seconds = log["step"], log.get("seconds", log["step"] * np.nan)
    passed = np.diff(steps)
    between = np.where(passed > 0, np.diff(seconds) / np.where(passed > 0, passed, 1), np.nan)
    return np.concatenate([[np.nan], between])


def _rows(labels: list[str], dice: Numbers) -> list[dict[str, Any]]:
    if not dice.size:
        return []
    rows = [
        {"name": name, "colour": PALETTE[n % len(PALETTE)], "total": False,
         "cells": _cells(dice[:, [n]])}
        for n, name in enumerate(labels)
    ]  # fmt: skip
    if len(rows) > 1:
        rows.append({"name": "All structures", "colour": "", "total": True, "cells": _cells(dice)})
    return rows


def _cells(dice: Numbers) -> list[Cell]:
    mean, known = mean_of(dice), dice[np.isfinite(dice)]
    middle, low = (float(np.median(known)), float(known.min())) if known.size else (None, None)
    return [
        Cell(shown(mean.mean, 3), interval(mean.ci_low, mean.ci_high, 3)),
        Cell(shown(middle, 3)),
        Cell(shown(low, 3)),
        Cell(str(mean.n)),
    ]


def _strips(labels: list[str], cases: list[dict[str, Any]], dice: Numbers) -> str:
    if len(dice) < 2:
        return ""
    strips = []
    for n, name in enumerate(labels):
        known = np.isfinite(dice[:, n])
        names = tuple(str(case["case"]) for case, keep in zip(cases, known, strict=True) if keep)
        strips.append(Strip(name, PALETTE[n % len(PALETTE)], dice[known, n], names))
    return strip_panels({"Dice": strips})


def _worst(cases: list[dict[str, Any]], dice: Numbers) -> list[tuple[str, ...]]:
    """The cases of lowest mean Dice: name, fold, mean, and Dice of each structure."""
    found = [
        (float(np.mean(row[np.isfinite(row)])), str(case["case"]), str(case.get("fold", "")), row)
        for case, row in zip(cases, dice, strict=True)
        if np.isfinite(row).any()
    ]
    found.sort(key=lambda one: one[:2])
    return [
        (name, fold, shown(mean, 3), *(shown(float(x), 3) for x in row))
        for mean, name, fold, row in found[:_WORST]
    ]


def _facts(run: RunRecords) -> list[tuple[str, str]]:
    """Provenance that the bundle keeps, in words."""
    provenance = run.bundle.get("provenance", {})
    names = {
        "command": "Command", "data_name": "Data", "data_licence": "Data licence",
        "data_hash": "Data fingerprint", "data_version": "Data version", "seed": "Seed",
        "precision": "Precision",
        "device": "Device", "created": "Made", "medseg_version": "medseg",
    }  # fmt: skip
    facts = [
        (words, str(provenance[key]))
        for key, words in names.items()
        if provenance.get(key) not in ("", None)
    ]
    trained = provenance.get("training_cases")
    if trained:
        facts.insert(1, ("Training cases", str(len(trained))))
    halfway = [
        told
        for log in run.folds.values()
        for told in [t for s, t in _foretold(log) if s <= 0.5][-1:]
    ]
    if halfway:
        facts.append(("Dice foretold halfway, nine in ten within", ", ".join(halfway)))
    return facts + _memory_facts(run)


def _memory_facts(run: RunRecords) -> list[tuple[str, str]]:
    """How much memory the run took."""
    held = run.metrics.get("memory") or {}
    found = {
        "Memory of training": run.metrics.get("peak_memory_gb"),
        "Memory until cases were prepared": held.get("prepared_gb"),
        "Memory of a process that trained": held.get("fold_gb"),
        "Memory of all processes at once": held.get("together_gb"),
    }
    return [(words, f"at most {gb:.2f} GB") for words, gb in found.items() if gb]
