"""`report.html` of a look at drift: whether the data changed, what moved, since when and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from medseg.files import write_text
from medseg.report.html import Tile, counted, render, shown
from medseg.report.plots.drift_plots import (
    Compared,
    embedding_map,
    level_course,
    number_panels,
)
from medseg.types import FloatArray

_PANELS = 9
_ROWS = 12


@dataclass(frozen=True)
class MovedNumber:
    """One row of the table of statistics.

    Attributes:
        name: What is compared, in words.
        how: By which statistic.
        surprise: The highest, and its threshold.
        moved: Whether that raised an alarm.
        since: Name of the case with which it began, or "".
        usual: Median of the baseline, or None.
        now: Median of the cases, or None.
    """

    name: str
    how: str
    surprise: tuple[float, float]
    moved: bool
    since: str
    usual: float | None
    now: float | None


@dataclass(frozen=True)
class SeenCase:
    """One row of the table of cases.

    Attributes:
        name: Of the case.
        p: How strange it is by itself, by view, as the share of usual cases that are as strange.
        level: The highest surprise after this case, as a share of its threshold.
        strange: Whether it is strange by itself.
        predicted_dice: What its mask is expected to have, or None.
        dice: What it has, or None.
    """

    name: str
    p: dict[str, float]
    level: float
    strange: bool
    predicted_dice: float | None
    dice: float | None


@dataclass(frozen=True, eq=False)
class ShownDrift:
    """All that the page shows.

    Attributes:
        bundle: Whose networks looked.
        alarm: Whether the data changed.
        since: Name of the case with which it began, or "".
        delay_cases: Cases of the window until the alarm, or None.
        false_alarm_rate: Of windows without a change.
        window: Cases that are judged together.
        baseline_cases: Cases of the baseline.
        learned_from: How many of these the networks learned from.
        statistics: The most surprising first.
        cases: In their order.
        unread: Sentences about cases that could not be looked at.
        numbers: Those that are drawn, the most surprising first.
        usual_map: Embeddings of the baseline in two components, shape (N, 2).
        now_map: Of the cases, shape (T, 2).
    """

    bundle: str
    alarm: bool
    since: str
    delay_cases: int | None
    false_alarm_rate: float
    window: int
    baseline_cases: int
    learned_from: int
    statistics: Sequence[MovedNumber]
    cases: Sequence[SeenCase]
    unread: Sequence[str]
    numbers: Sequence[Compared]
    usual_map: FloatArray
    now_map: FloatArray


def write_drift_report(drift: ShownDrift, path: Path) -> Path:
    """Write the page as one file that needs no other.

    Returns:
        `path`.

    Raises:
        CannotWrite: If the page cannot be written.
    """
    write_text(path, render("drift.html.j2", _content(drift)))
    return path


def _content(drift: ShownDrift) -> dict[str, Any]:
    names = [case.name for case in drift.cases]
    levels = np.array([case.level for case in drift.cases])
    numbers = drift.numbers[:_PANELS]
    return {
        "title": f"Drift of {drift.bundle}",
        "headline": _headline(drift),
        "lead": _lead(drift),
        "tiles": _tiles(drift),
        "notices": _notices(drift),
        "course": Markup(level_course(names, levels, drift.window)),
        "panels": Markup(number_panels(numbers, names)) if numbers else "",
        "map": Markup(embedding_map(drift.usual_map, drift.now_map, names)),
        "statistics": [_statistic(one) for one in drift.statistics[:_ROWS]],
        "more": max(len(drift.statistics) - _ROWS, 0),
        "views": list(drift.cases[0].p),
        "cases": [_case(one) for one in drift.cases],
        "facts": _facts(drift),
    }


def _headline(drift: ShownDrift) -> str:
    if not drift.alarm:
        return f"No change in {counted(len(drift.cases), 'case')}"
    return f"The data changed, most likely with {drift.since}"


def _lead(drift: ShownDrift) -> str:
    moved = [one for one in drift.statistics if one.moved]
    if not moved:
        return (
            f"No statistic of {len(drift.statistics)} went above its threshold. Without a change, "
            f"{100 * drift.false_alarm_rate:g} % of the windows of "
            f"{counted(drift.window, 'case')} would."
        )
    first = ", ".join(one.name for one in moved[:3])
    rest = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    words = f"What moved most: {first}{rest}."
    numbers = [one.name for one in drift.statistics if one.usual is not None]
    if not any(one.usual is not None for one in moved) and numbers:
        words += f" No number moved alone; those that changed most: {', '.join(numbers[:3])}."
    return words


def _tiles(drift: ShownDrift) -> list[Tile]:
    highest = max(case.level for case in drift.cases)
    strange = sum(case.strange for case in drift.cases)
    tiles = [
        Tile("Level", shown(highest, 2), "", "alarm above 1", drift.alarm),
        Tile("Strange cases", str(strange), f"of {len(drift.cases)}", "p below 0.05; 1 in 20 is"),
    ]
    if drift.delay_cases is not None:
        tiles.append(Tile("Noticed after", str(drift.delay_cases), "cases of a window"))
    predicted = [c.predicted_dice for c in drift.cases if c.predicted_dice is not None]
    if predicted:
        mean = sum(predicted) / len(predicted)
        tiles.append(Tile("Predicted Dice", shown(mean, 3), "", f"lowest {min(predicted):.3f}"))
    return tiles


def _notices(drift: ShownDrift) -> list[str]:
    found = list(drift.unread)
    if drift.learned_from:
        found.append(
            f"The networks learned from {drift.learned_from} of the {drift.baseline_cases} cases "
            "of the baseline: masks look better there than on any new case."
        )
    return found


def _statistic(one: MovedNumber) -> dict[str, Any]:
    return {
        "name": one.name,
        "bad": one.moved,
        "cells": (
            one.how,
            f"{one.surprise[0]:.1f} of {one.surprise[1]:.1f}",
            one.since or "\u2013",
            "\u2013" if one.usual is None else f"{one.usual:.4g}",
            "\u2013" if one.now is None else f"{one.now:.4g}",
        ),
    }


def _case(one: SeenCase) -> dict[str, Any]:
    return {
        "name": one.name,
        "bad": one.strange,
        "cells": (
            *(f"{p:.3f}" for p in one.p.values()),
            shown(one.level, 2),
            shown(one.predicted_dice, 3),
            shown(one.dice, 3),
        ),
    }


def _facts(drift: ShownDrift) -> list[tuple[str, str]]:
    return [
        ("Bundle", drift.bundle),
        ("Baseline", f"{drift.baseline_cases} usual cases"),
        ("Window", f"{drift.window} cases, judged after each of them"),
        ("False alarms", f"{100 * drift.false_alarm_rate:g} % of windows without a change"),
        ("Thresholds", "calibrated on windows drawn from the baseline"),
    ]
