"""`report.html` of a comparison: who is better, by how much, and whether the data can tell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medseg.files import write_text
from medseg.metrics.paired import SIGNIFICANT
from medseg.report.html import Cell, Tile, counted, interval, render, shown
from medseg.report.pages.evaluation_tables import digits_of
from medseg.report.plots.comparison_plots import (
    MOST_STRUCTURES,
    model_colours,
    model_distributions,
    paired_differences,
    rank_shares,
)
from medseg.report.scores.compare import OVERALL, Comparison
from medseg.report.scores.summary import TITLES
from medseg.report.scores.verdict import PairedDifference

_TILES, _SENTENCES = 4, 6


def write_comparison_report(comparison: Comparison, path: Path) -> Path:
    """Write the page of a comparison as one file that needs no other.

    Args:
        comparison: What `medseg.report.scores.compare` found.
        path: Where the page shall be.

    Returns:
        `path`.

    Raises:
        CannotWrite: If the page cannot be written.
    """
    write_text(path, render("comparison.html.j2", _content(comparison)))
    return path


def _content(comparison: Comparison) -> dict[str, Any]:
    told = [one for one in comparison.differences if one.label != OVERALL]
    verdict, _, rest = comparison.headline.partition(". ")
    return {
        "title": f"Comparison of {' and '.join(comparison.names)}",
        "headline": verdict.removesuffix("."),
        "lead": _lead(comparison, rest),
        "tiles": _tiles(comparison),
        "notices": _notices(comparison),
        "columns": comparison.ranking.order,
        "colours": model_colours(comparison.names),
        "rows": _rows(comparison),
        "metric": _metric(comparison),
        "distributions": Markup(model_distributions(comparison)),
        "narrowed": len(comparison.labels) > MOST_STRUCTURES,
        "differences": Markup(paired_differences(comparison)),
        "overall": [one.sentence for one in comparison.overall],
        "sentences": [one.sentence for one in told[:_SENTENCES]],
        "tests": [_test(one, comparison) for one in (*comparison.overall, *told)],
        "more": max(len(told) - _SENTENCES, 0),
        "shares": Markup(rank_shares(comparison)),
        "stability": _stability(comparison),
        "significant": SIGNIFICANT,
        "facts": _facts(comparison),
    }


def _metric(comparison: Comparison) -> str:
    return TITLES.get(comparison.metric, comparison.metric)


def _lead(comparison: Comparison, rest: str) -> str:
    better = "more" if comparison.higher_is_better else "less"
    compared = (
        f"Compared by {_metric(comparison)} ({better} is better) on the same "
        f"{counted(len(comparison.cases), 'case')}, "
        f"{counted(len(comparison.labels), 'structure')}."
    )
    return f"{rest} {compared}".strip()


def _tiles(comparison: Comparison) -> list[Tile]:
    """The best models, and how firm their order is."""
    tiles = []
    digits = digits_of(comparison.metric)
    for name in comparison.ranking.order[:_TILES]:
        mean = comparison.means[name][OVERALL]
        spread = interval(mean.ci_low, mean.ci_high, digits)
        lost = comparison.lost[name][OVERALL]
        words = [f"95 %: {spread}"] if spread else []
        words += [f"{lost} missed or invented"] if lost else []
        tiles.append(Tile(name, shown(mean.mean, digits), "", "; ".join(words)))
    return tiles


def _notices(comparison: Comparison) -> list[str]:
    """What the numbers alone do not say."""
    few = len(comparison.cases) < 6
    words = f"Only {counted(len(comparison.cases), 'case')}: too few for any test to find a winner."
    return [words] if few else []


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    several = len(comparison.labels) > 1
    labels = (*comparison.labels, OVERALL) if several else comparison.labels
    return [
        {
            "name": "All structures" if label == OVERALL else label,
            "total": label == OVERALL,
            "cells": [_cell(comparison, name, label) for name in comparison.ranking.order],
            "winner": _winner(comparison, label),
        }
        for label in labels
    ]


def _cell(comparison: Comparison, name: str, label: str) -> Cell:
    mean, digits = comparison.means[name][label], digits_of(comparison.metric)
    spread = interval(mean.ci_low, mean.ci_high, digits)
    lost = comparison.lost[name][label]
    words = "; ".join(word for word in (spread, f"{lost} lost" if lost else "") if word)
    return Cell(shown(mean.mean, digits), words)


def _winner(comparison: Comparison, label: str) -> str:
    """The model that beats all others on a structure; "" where there is none."""
    wins = [one.winner for one in comparison.differences if one.label == label and one.winner]
    needed = len(comparison.names) - 1
    return next((name for name in comparison.names if wins.count(name) == needed), "")


def _test(one: PairedDifference, comparison: Comparison) -> tuple[str, ...]:
    digits = digits_of(comparison.metric)

    def signed(number: float | None) -> str:
        return "\u2013" if number is None else f"{number:+.{digits}f}".replace("-", "\u2212")

    return (
        "All structures" if one.label == OVERALL else one.label,
        f"{one.first} \u2212 {one.second}",
        signed(one.difference) if one.n else "\u2013",
        f"{signed(one.ci_low)} to {signed(one.ci_high)}" if one.ci_low is not None else "\u2013",
        _p(one.p),
        _p(one.p_holm),
        str(one.n),
        one.winner or "cannot be told",
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _stability(comparison: Comparison) -> str:
    ranking = comparison.ranking
    first = ranking.order[0]
    share = ranking.shares[ranking.names.index(first)][0]
    return (
        f"When the cases are drawn again, {first} is first in {100 * share:.0f} % of the draws; "
        f"Kendall\u2019s tau of the order is {ranking.kendall_tau:.2f} on average "
        "(1: it never changes)."
    )


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    settings: Mapping[str, Any] = comparison.settings
    facts = [("Models", ", ".join(comparison.names)), ("Decided by", _metric(comparison))]
    facts += [
        (name.replace("_", " ").capitalize().replace("Hd95", "HD95").replace("Assd", "ASSD"), value)
        for name in ("surface", "hd95", "assd")
        if (value := str(settings.get(name, "")))
    ]
    tolerances = settings.get("tolerances_mm")
    if isinstance(tolerances, dict) and tolerances:
        found = sorted({f"{mm:g} mm" for mm in tolerances.values()})
        facts.append(("Tolerance of the surface Dice", ", ".join(found)))
    facts += [
        ("Difference", "mean of the paired differences, 95 % percentile bootstrap over cases"),
        ("Test", "Wilcoxon\u2019s signed-rank, two-sided, corrected by Holm"),
    ]
    return facts
