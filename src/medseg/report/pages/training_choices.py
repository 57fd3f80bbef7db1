"""What held-out cases decided in a training, as rows of its page."""

from collections.abc import Mapping
from typing import Any

from medseg.report.html import interval, shown

Row = tuple[str, ...]


def candidate_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Name, mean Dice, its interval, and gain over the best single one, of each candidate."""
    rows: list[Row] = []
    for one in _dicts(_choice(metrics).get("candidates", [])):
        gain = one.get("gain")
        rows.append(
            (
                f"{one.get('name', '')}{' (the bundle)' if one.get('chosen') else ''}",
                shown(one.get("dice"), 4),
                interval(one.get("ci_low"), one.get("ci_high"), 4),
                "" if gain is None else f"{gain:+.4f}",
                "" if gain is None else _between(one.get("gain_ci_low"), one.get("gain_ci_high")),
            )
        )
    return rows


def choice_sentence(metrics: Mapping[str, Any]) -> str:
    """Why the winner won; empty where nothing was compared."""
    return str(_choice(metrics).get("why", ""))


def step_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """What was tried, its gain and interval, in how many cases it changed the Dice, and the end."""
    return [
        (
            str(one.get("sentence", "")),
            "" if one.get("gain") is None else f"{one['gain']:+.4f}",
            _between(one.get("ci_low"), one.get("ci_high")),
            f"{one.get('changed', '')} of {one.get('n', '')}",
            "kept" if one.get("kept") else "left out",
            str(one.get("why", "")),
        )
        for one in _dicts(metrics.get("postprocessing", []))
        if one.get("changed")
    ]


def calibration_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Configuration, temperature, and calibration error before and after, on sampled voxels."""
    found = metrics.get("calibration", {})
    return [
        (
            str(name),
            shown(one.get("temperature"), 2),
            shown(one.get("ece_before"), 4),
            shown(one.get("ece_after"), 4),
            f"{one.get('voxels', 0):,}",
        )
        for name, one in (found.items() if isinstance(found, dict) else ())
        if isinstance(one, dict)
    ]


def _choice(metrics: Mapping[str, Any]) -> dict[str, Any]:
    found = metrics.get("choice", {})
    return found if isinstance(found, dict) else {}


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
