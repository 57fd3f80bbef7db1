"""What an evaluation says beside the scores: lesions, objects and calibration, over all cases."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.report.scores.score import CaseScores, Evaluation
from medseg.report.scores.summary import Mean, mean_of
from medseg.volume.labels import Label

_LESIONS = ("reference_lesions", "predicted_lesions", "matched_lesions", "lesion_f1",
            "mean_lesion_dice")  # fmt: skip
_OBJECTS = ("pq", "sq", "rq")
_CALIBRATION = ("ece", "brier")


@dataclass(frozen=True)
class Detection:
    """How many connected parts of a structure were found, over all cases together.

    Attributes:
        reference_lesions: Parts of the references.
        predicted_lesions: Parts of the predictions.
        found: Parts of the references that were matched.
        invented: Parts of the predictions that were not.
        sensitivity: Share of the references' parts that were found; None where there are none.
        precision: Share of the predictions' parts that were matched; None where there are none.
        f1: Their harmonic mean, twice the matches over all parts; None where there are none.
        mean_lesion_dice: Mean Dice over the parts of the references, 0 for one that was not found;
            None where there are none.
    """

    reference_lesions: int
    predicted_lesions: int
    found: int
    invented: int
    sensitivity: float | None
    precision: float | None
    f1: float | None
    mean_lesion_dice: float | None


@dataclass(frozen=True)
class Reliability:
    """How far probabilities of a structure are what they say, over the voxels of all cases.

    Attributes:
        ece: Expected calibration error, 0 is best.
        brier: Mean squared difference from the truth, 0 is best.
        confidence: Mean probability of each bin; NaN for an empty one.
        frequency: How often the structure is there in each bin; NaN for an empty one.
        count: Voxels of each bin.
        cases: Number of cases.
    """

    ece: float
    brier: float
    confidence: tuple[float, ...]
    frequency: tuple[float, ...]
    count: tuple[int, ...]
    cases: int


@dataclass(frozen=True)
class Objects:
    """How well numbered objects were found.

    Attributes:
        pq: Panoptic quality, the mean over cases.
        sq: Segmentation quality: mean IoU of the matched objects.
        rq: Recognition quality: F1 of finding the objects.
        tp: Matched objects of all cases.
        fp: Objects of the predictions without partner.
        fn: Objects of the references without partner.
    """

    pq: Mean
    sq: Mean
    rq: Mean
    tp: int
    fp: int
    fn: int


def detection_of(evaluation: Evaluation, label: Label) -> Detection | None:
    """Lesions of a structure; None where they were not asked for."""
    found = [case.lesions[label.value] for case in evaluation.cases if label.value in case.lesions]
    if not found:
        return None
    reference = sum(one.reference_lesions for one in found)
    predicted = sum(one.predicted_lesions for one in found)
    matched = sum(one.matched for one in found)
    dice = sum(
        one.mean_lesion_dice * one.reference_lesions for one in found if one.reference_lesions
    )
    return Detection(
        reference_lesions=reference,
        predicted_lesions=predicted,
        found=matched,
        invented=predicted - matched,
        sensitivity=_ratio(matched, reference),
        precision=_ratio(matched, predicted),
        f1=_ratio(2 * matched, reference + predicted),
        mean_lesion_dice=_ratio(dice, reference),
    )


def objects_of(evaluation: Evaluation) -> Objects | None:
    """Objects over all cases; None where masks do not number them."""
    found = [case.objects for case in evaluation.cases if case.objects is not None]
    if not found:
        return None
    pq, sq, rq = (
        mean_of(np.array([[getattr(one, name)] for one in found], np.float64)) for name in _OBJECTS
    )
    tp, fp, fn = (sum(getattr(one, name) for one in found) for name in ("tp", "fp", "fn"))
    return Objects(pq, sq, rq, tp, fp, fn)


def reliability_of(evaluation: Evaluation, label: Label) -> Reliability | None:
    """Calibration of a structure; None where there were no probabilities."""
    cases = [c.calibration[label.value] for c in evaluation.cases if label.value in c.calibration]
    if not cases:
        return None
    counts = np.array([one.count for one in cases], np.float64)
    confidence = _pooled([one.confidence for one in cases], counts)
    frequency = _pooled([one.accuracy for one in cases], counts)
    per_bin, per_case = counts.sum(axis=0), counts.sum(axis=1)
    gaps = np.where(per_bin > 0, np.abs(confidence - frequency), 0.0)
    return Reliability(
        ece=float((gaps * per_bin).sum() / per_bin.sum()),
        brier=float(np.average([one.brier for one in cases], weights=per_case)),
        confidence=tuple(confidence.tolist()),
        frequency=tuple(frequency.tolist()),
        count=tuple(int(n) for n in per_bin),
        cases=len(cases),
    )


def details_of(evaluation: Evaluation) -> dict[str, Any]:
    """All of it as JSON holds it; only what was asked for."""
    content: dict[str, Any] = {}
    lesions = {one.name: detection_of(evaluation, one) for one in evaluation.labels}
    if any(lesions.values()):
        content["lesions"] = {name: asdict(one) for name, one in lesions.items() if one}
    objects = objects_of(evaluation)
    if objects is not None:
        content["objects"] = {
            name: {k: v for k, v in asdict(getattr(objects, name)).items() if k != "penalised"}
            for name in _OBJECTS
        }
        content["objects"]["counts"] = {n: getattr(objects, n) for n in ("tp", "fp", "fn")}
    sure = {one.name: reliability_of(evaluation, one) for one in evaluation.labels}
    if any(sure.values()):
        content["calibration"] = {name: _plain(one) for name, one in sure.items() if one}
    return content


def columns_of(evaluation: Evaluation) -> tuple[str, ...]:
    """Further columns of the table of cases: only what was asked for."""
    cases = evaluation.cases
    columns: tuple[str, ...] = ()
    columns += _LESIONS if any(case.lesions for case in cases) else ()
    columns += _OBJECTS if any(case.objects is not None for case in cases) else ()
    columns += _CALIBRATION if any(case.calibration for case in cases) else ()
    return columns


def detail_row(case: CaseScores, label: Label, columns: Sequence[str]) -> dict[str, Any]:
    """The further columns of one row; None where a structure has no such score."""
    row: dict[str, Any] = dict.fromkeys(columns)
    lesions = case.lesions.get(label.value)
    if lesions is not None:
        numbers = (lesions.reference_lesions, lesions.predicted_lesions, lesions.matched,
                   lesions.f1, lesions.mean_lesion_dice)  # fmt: skip
        row |= dict(zip(_LESIONS, numbers, strict=True))
    if case.objects is not None:
        row |= {name: getattr(case.objects, name) for name in _OBJECTS}
    sure = case.calibration.get(label.value)
    if sure is not None:
        row |= {"ece": sure.ece, "brier": sure.brier}
    return row


def _pooled(values: Sequence[Sequence[float]], counts: Any) -> Any:
    """Means of each bin over cases, weighted by their voxels; NaN for an empty bin."""
    numbers = np.where(counts > 0, np.array(values, np.float64), 0.0)
    total = counts.sum(axis=0)
    return np.where(total > 0, (numbers * counts).sum(axis=0) / np.maximum(total, 1), np.nan)


def _plain(one: Reliability) -> dict[str, Any]:
    """Without NaN, which JSON does not know."""
    content = asdict(one)
    for name in ("confidence", "frequency"):
        content[name] = [None if np.isnan(x) else x for x in content[name]]
    return content | {"count": list(one.count)}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
