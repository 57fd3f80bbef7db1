"""A comparison as files: `comparison.csv` for spreadsheets and `comparison.json` for programs."""

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg import __version__
from medseg.files import write_text
from medseg.metrics.paired import SIGNIFICANT
from medseg.report.scores.compare import Comparison
from medseg.report.scores.ranking import Ranking

DEFINITIONS = {
    "difference": "mean over cases of the score of first minus that of second",
    "interval": "95 % percentile bootstrap over cases, seeded; both models' scores drawn together",
    "p": "Wilcoxon's signed-rank test, two-sided, zero differences ranked (Pratt)",
    "p_holm": "p after Holm's correction, over all structures and pairs; over pairs for mean",
    "winner": f"p_holm below {SIGNIFICANT} and an interval without zero; null: cannot be told",
    "ranks": "by the mean over structures of the means over cases; resampled by bootstrap of cases",
    "kendall_tau": "tau-b of the ranking on all cases and those on the resamples, mean",
    "penalty": "a distance of a missed or invented structure is the diagonal of its image",
}


def save_comparison(comparison: Comparison, out: Path) -> None:
    """Write `comparison.csv` and `comparison.json` into a folder.

    Raises:
        CannotWrite: If the folder cannot be written.
    """
    rows = [_finite(asdict(one)) for one in comparison.differences]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "comparison.csv", text.getvalue())
    content = json.dumps(as_json(comparison), indent=1, allow_nan=False)
    write_text(out / "comparison.json", content)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything as JSON holds it; what is not a number is null."""
    means = {
        name: {
            label: {key: value for key, value in asdict(mean).items() if key != "penalised"}
            | {"missed_or_invented": comparison.lost[name][label]}
            for label, mean in by_label.items()
        }
        for name, by_label in comparison.means.items()
    }
    rankings = {label: _ranking(one) for label, one in comparison.rankings.items()}
    return {
        "models": list(comparison.names),
        "metric": comparison.metric,
        "higher_is_better": comparison.higher_is_better,
        "conclusion": comparison.headline,
        "cases": list(comparison.cases),
        "labels": list(comparison.labels),
        "numbers": {name: _numbers(one) for name, one in comparison.numbers.items()},
        "means": means,
        "differences": [_finite(asdict(one)) for one in comparison.differences],
        "ranking": {**rankings, "mean": _ranking(comparison.ranking)},
        "settings": dict(comparison.settings),
        "definitions": DEFINITIONS,
        "medseg_version": __version__,
    }


def _numbers(scores: npt.NDArray[np.float64]) -> list[list[float | None]]:
    """Scores of a model, a list of the structures for each case; null where not defined."""
    return [[x if math.isfinite(x) else None for x in row] for row in scores.tolist()]


def _ranking(ranking: Ranking) -> dict[str, Any]:
    """One entry for each model, the best first, and how firm the order is."""
    at = {name: n for n, name in enumerate(ranking.names)}
    models = [
        {
            "model": name,
            "mean": ranking.means[at[name]],
            "rank": ranking.ranks[at[name]],
            "rank_low": ranking.low[at[name]],
            "rank_high": ranking.high[at[name]],
            "share_of_resamples_by_rank": list(ranking.shares[at[name]]),
        }
        for name in ranking.order
    ]
    return {
        "models": models,
        "kendall_tau": ranking.kendall_tau,
        "kendall_tau_low": ranking.kendall_tau_low,
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
