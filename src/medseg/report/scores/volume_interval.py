"""Between which volumes the truth is expected, from what is known about a model's errors."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import MissingPath, UnreadableFile

_ALPHA = 0.05
_FEWEST = 5
"""Fewer evaluated cases say too little: the range of four holds 60 % of new cases only."""


@dataclass(frozen=True)
class VolumeInterval:
    """Where a true volume is expected.

    Attributes:
        low_ml: Its lower end.
        high_ml: Its upper end.
        claim: What it claims, in a few words: "91 %", "if Dice 0.895".
        source: Where it comes from, as a sentence.
    """

    low_ml: float
    high_ml: float
    claim: str
    source: str


@dataclass(frozen=True)
class VolumeErrors:
    """How true volumes compared with predicted ones in an evaluation.

    Attributes:
        ratios: Reference over predicted volume of each case, by structure; only cases where both
            masks hold it.
    """

    ratios: Mapping[str, tuple[float, ...]]


def read_volume_errors(path: Path, *, without: str = "") -> VolumeErrors:
    """Read the volumes of an evaluation.

    Args:
        path: A `scores.json`, or the folder that holds it.
        without: Name of a case that is left out: the one that the errors shall be applied to.

    Raises:
        MissingPath: If there is none.
        UnreadableFile: If it is no such file.
    """
    file = path / "scores.json" if path.is_dir() else path
    if not file.is_file():
        raise MissingPath(
            "Errors of volumes come from the scores.json of an evaluation.",
            received=f"nothing at {file}",
            cure="Name the folder that was given to medseg evaluate as --out.",
        )
    ratios: dict[str, list[float]] = {}
    try:
        for row in json.loads(file.read_text(encoding="utf-8"))["cases"]:
            if row["status"] == "ok" and row["case"] != without:
                ratio = float(row["reference_ml"]) / float(row["predicted_ml"])
                ratios.setdefault(str(row["label"]), []).append(ratio)
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise UnreadableFile(
            f"{file} must be the scores.json of an evaluation.",
            received=f"{type(error).__name__}: {error}",
            cure="Evaluate again.",
        ) from error
    return VolumeErrors({name: tuple(sorted(found)) for name, found in ratios.items()})


def interval_from_errors(volume_ml: float, ratios: Sequence[float]) -> VolumeInterval | None:
    """Where the true volume of a new case lies, if it is one of the same kind as those evaluated.

    Order statistics of reference over predicted volume: between the k-th smallest and the k-th
    largest of n ratios a further one lies with probability 1 - 2k / (n + 1). With 39 cases and more
    k is the largest that keeps 95 %; with fewer the whole range is taken, and its share is said.

    Args:
        volume_ml: The predicted volume.
        ratios: Reference over predicted volume of the evaluated cases.

    Returns:
        None of fewer than five cases.

    Source:
        Wilks, Determination of sample sizes for setting tolerance limits, Annals of Mathematical
        Statistics 12(1), 1941; split conformal prediction comes to the same.
    """
    n = len(ratios)
    if n < _FEWEST:
        return None
    ordered = sorted(ratios)
    k = max(1, int(_ALPHA / 2 * (n + 1) + 1e-9))
    share = 1 - 2 * k / (n + 1)
    return VolumeInterval(
        volume_ml * ordered[k - 1],
        volume_ml * ordered[-k],
        f"{100 * share:.0f} %",
        "Where the true volume lies in as many of new cases as the small print says, if they are "
        "like those of the evaluation: from the ratios of reference to predicted volume there.",
    )


def range_from_dice(volume_ml: float, dice: float) -> VolumeInterval | None:
    """Between which volumes the truth lies if the Dice is at least this large.

    The shared voxels are no more than the smaller mask, so Dice <= 2 r / (1 + r) with r the smaller
    volume over the larger, hence r >= Dice / (2 - Dice): a bound, whatever the shapes.

    Args:
        volume_ml: The predicted volume.
        dice: The model's mean Dice on cases that were held out, above 0.

    Returns:
        None of a Dice of 0.
    """
    if not 0 < dice <= 1:
        return None
    least = dice / (2 - dice)
    return VolumeInterval(
        volume_ml * least,
        volume_ml / least,
        f"if Dice {dice:.3f}",
        "Where the true volume lies if this mask has the Dice of the small print, which is the "
        "model\u2019s mean for the structure on cases that were held out. No evaluation of volumes "
        "was given, so there is no interval of a stated chance.",
    )


def held_out_dice(bundle: Mapping[str, Any], structure: str) -> float | None:
    """Mean Dice of a structure on held-out cases, as the content of a `bundle.json` has it."""
    metrics = bundle.get("metrics")
    if not isinstance(metrics, dict) or "held out" not in str(metrics.get("measured_on", "")):
        return None
    dice = metrics.get("dice")
    number = dice.get(structure) if isinstance(dice, dict) else None
    return float(number) if isinstance(number, (int, float)) else None
