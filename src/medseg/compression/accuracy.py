"""Two ways of running one bundle, judged on the same whole cases."""

import math
from collections.abc import Sequence

import numpy as np

from medseg.compression.patches import TrialData
from medseg.dataset.description import read_case, read_case_label
from medseg.errors import EngineDiffers
from medseg.inference.exported import Accuracy, Compared
from medseg.inference.predict import Predictor
from medseg.metrics.case import LabelScores, score_case
from medseg.metrics.paired import gain_of
from medseg.progress import SILENT, Progress
from medseg.volume.labels import Labels
from medseg.volume.volume import LabelMap

MOST_CASES = 24
"""Cases that judge, unless told otherwise."""


def compared(
    data: TrialData,
    exact: Predictor,
    engine: Predictor,
    *,
    cases: int = MOST_CASES,
    progress: Progress = SILENT,
) -> Accuracy | None:
    """Dice and HD95 of two predictors, with the interval of their difference.

    Args:
        data: The data set.
        exact: The weights in torch, in float32.
        engine: What is judged.
        cases: How many cases judge, at most.
        progress: Told of each case.

    Returns:
        None if the data set has no labelled case.
    """
    chosen = data.judging[:cases]
    rows: list[tuple[float, float, float, float]] = []
    with progress.task("Judging on whole cases", len(chosen)) as task:
        for name in chosen:
            case = data.description.case(name)
            volume, reference = read_case(data.description, case), read_case_label(
                data.description, case
            )  # fmt: skip
            one, other = (
                scores_of(predictor.predict(volume).label_map, reference, data.bundle.labels)
                for predictor in (exact, engine)
            )
            rows.append((*_means(one, other), *_distances(one, other)))
            task.advance()
    if not rows:
        return None
    table = np.array(rows)
    distances = table[np.isfinite(table[:, 2:]).all(axis=1), 2:]
    return Accuracy(
        cases=chosen,
        data=data.description.name,
        are_held_out=data.are_held_out,
        dice=_compared(table[:, :2]),
        hd95_mm=_compared(distances) if len(distances) else None,
    )


def require_small_loss(accuracy: Accuracy, most: float, *, name: str) -> None:
    """Pass if mean Dice falls by no more than so much.

    Args:
        accuracy: What was found.
        most: The largest loss.
        name: What was judged, for the message.

    Raises:
        EngineDiffers: If it falls by more.
    """
    loss = -accuracy.dice.change
    if loss > most:
        raise EngineDiffers(
            f"An engine is kept if mean Dice falls by no more than {most:g}.",
            received=f"{name}: {accuracy.dice.engine:.4f} for {accuracy.dice.torch:.4f} on "
            f"{len(accuracy.cases)} cases of {accuracy.data}",
            cure="Try --precision bf16 or fp16, medseg quantize --qat, or a larger bound.",
        )


def scores_of(mask: LabelMap, reference: LabelMap, labels: Labels) -> Sequence[LabelScores]:
    """Scores of each structure; voxels that nobody judged are background in both."""
    known = [label.value for label in labels]
    truth = reference.reoriented(mask.geometry.orientation).array
    judged = np.isin(truth, [0, *known])
    found = np.where(judged, mask.array, 0).astype(mask.array.dtype)
    scores = score_case(
        found, np.where(judged, truth, 0), values=known, spacing_mm=mask.geometry.spacing_mm
    )
    return tuple(scores.values())


def _means(one: Sequence[LabelScores], other: Sequence[LabelScores]) -> tuple[float, float]:
    """Mean Dice over the structures that are there, or that either mask holds."""
    pairs = [
        (a.dice, b.dice)
        for a, b in zip(one, other, strict=True)
        if "both_empty" not in (a.status, b.status) or a.status != b.status
    ]
    means = np.mean(pairs or [(1.0, 1.0)], axis=0)
    return float(means[0]), float(means[1])


def _distances(one: Sequence[LabelScores], other: Sequence[LabelScores]) -> tuple[float, float]:
    """Mean HD95 over the structures that both masks and the reference hold; NaN without any."""
    pairs = [
        (a.hd95, b.hd95)
        for a, b in zip(one, other, strict=True)
        if a.status == "ok" and b.status == "ok"
    ]
    if not pairs:
        return math.nan, math.nan
    means = np.mean(pairs, axis=0)
    return float(means[0]), float(means[1])


def _compared(pairs: "np.typing.NDArray[np.float64]") -> Compared:
    gain = gain_of(pairs[:, 1] - pairs[:, 0])
    return Compared(
        torch=float(pairs[:, 0].mean()),
        engine=float(pairs[:, 1].mean()),
        change=gain.mean,
        ci_low=gain.ci_low,
        ci_high=gain.ci_high,
    )
