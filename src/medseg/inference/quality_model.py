"""The Dice of a mask, foretold without a reference, by a model that was fitted on judged cases.

The expected Dice of `quality` orders cases, and may be wrong by a constant. Here several signs
are put together: what the networks expect, how far they agree with each other and with mirrored
images, doubt, stray parts, volumes and how strange the image is. A ridge regression of the logit of
Dice on these gives a level, and an isotonic regression of Dice on levels that were told out of fold
calibrates it. Both are fitted on cases that no judging network has learned from and on corrupted
copies of them.

Source: isotonic regression through scipy (pool adjacent violators), for calibration as in Zadrozny
and Elkan, KDD 2002, here with steps of many masks: with a step for each mask it told Dice worse
than without (docs/benchmarks.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ValidationError
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from medseg.bundle import Bundle
from medseg.errors import CorruptBundle
from medseg.files import write_text
from medseg.inference.opinions import Examination
from medseg.specs import FROZEN
from medseg.types import FloatArray, IntArray

FILE_NAME = "quality.json"
"""Lies in the folder of the bundle."""

RIDGE = 1.0
"""Penalty on the weights of standardised signs, in masks."""

STEP_MASKS = 100
"""Masks that each step of the isotonic regression stands for: steps of few fit their noise."""

FOLDS = 5
"""Parts of the cases, each foretold by a model of the others, that tell the error of the model."""

_EDGE = 0.005
"""Dice and agreements are kept this far from 0 and 1 before their logit is taken."""

_LARGEST_Z = 6.0
_SMALLEST_ML = 1e-3

Judges = Literal["ensemble", "network"]

Spreads = dict[str, tuple[float, float]]
"""Mean and deviation by name."""


class QualityEvidence(NamedTuple):
    """What is known of a mask without a reference.

    Attributes:
        features: What networks expect and how far they agree, by name.
        volumes_ml: Volume of each label by name.
        appearance: What the image looks like, by name.
    """

    features: Mapping[str, float]
    volumes_ml: Mapping[str, float]
    appearance: Mapping[str, float]


class JudgedMask(NamedTuple):
    """A mask whose Dice is known.

    Attributes:
        case: Name of the case; copies of it have the same.
        is_copy: Whether its image was made worse on purpose.
        evidence: What is known of it without a reference.
        dice: Mean Dice of its labels.
    """

    case: str
    is_copy: bool
    evidence: QualityEvidence
    dice: float


class QualityModel(BaseModel):
    """Foretells the mean Dice of a mask.

    Attributes:
        format: Version of this form.
        weights_sha256: Of the bundle that it belongs to.
        signs: Names of the signs, in order.
        means: Of each sign where the model was fitted.
        deviations: Of each sign.
        weights: Of each standardised sign.
        offset: What is added to the weighted signs; the sum is the logit of the level.
        order: Levels at the steps of the isotonic regression, rising.
        dice: Dice at these steps, not falling.
        span: Smallest and largest Dice that it tells: those of the masks that it was fitted on.
        volumes_ml: For each label, mean and deviation of the logarithm of its volume in ml.
        appearance: For each number of `appearance`, mean and deviation.
        masks: Masks that it was fitted on.
        cases: Cases that these masks are of.
        error: Mean absolute error on the masks, each foretold by a model that had seen neither its
            case nor a copy of it.
        correlation: Spearman's, likewise.
        judges: Whose masks it was fitted on: those of all networks together, on cases that none has
            learned from; or those of single networks, on the cases that each has not learned from.
    """

    model_config = FROZEN

    format: Literal[2] = 2
    weights_sha256: str
    signs: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float
    order: tuple[float, ...]
    dice: tuple[float, ...]
    span: tuple[float, float]
    volumes_ml: Spreads
    appearance: Spreads
    masks: int
    cases: int
    error: float
    correlation: float
    judges: Judges = "ensemble"

    def predict(self, evidence: QualityEvidence) -> float:
        """The Dice that a mask is expected to have, 0 to 1; 0 of one without any structure."""
        if not any(evidence.volumes_ml.values()):
            return 0.0
        level = self.level(evidence)
        order = np.array(self.order)
        told = level + np.interp(level, order, np.array(self.dice) - order)
        return float(np.clip(told, *self.span))

    def level(self, evidence: QualityEvidence) -> float:
        """What the regression says before it is calibrated, between 0 and 1."""
        found = signs_of(evidence, self.volumes_ml, self.appearance)
        row = np.array([found[name] for name in self.signs])
        standard = _standardised(row, np.array(self.means), np.array(self.deviations))
        return float(1 / (1 + np.exp(-self.offset - standard @ np.array(self.weights))))


def evidence_of(seen: Examination) -> QualityEvidence:
    """What an examination says about its mask; agreements that it lacks are left out."""
    found = {
        "expected_dice": seen.quality.score,
        "entropy": seen.entropy_nats,
        "information": seen.member_information_nats,
        "mirror_information": seen.mirror_information_nats,
        "stray_share": seen.stray_share,
    }
    if seen.member_dice is not None:
        found["member_dice"] = seen.member_dice
    if seen.mirror_dice is not None:
        found["mirror_dice"] = seen.mirror_dice
    return QualityEvidence(found, seen.volumes_ml, seen.appearance)


def fit_quality_model(
    masks: Sequence[JudgedMask], *, weights_sha256: str, judges: Judges = "ensemble"
) -> QualityModel:
    """Fit a model, and tell its error by leaving out each fifth of the cases in turn.

    Args:
        masks: Of at least `FOLDS` cases that the networks have not learned from, each as it is and
            preferably with copies that were made worse; all with the same features.
        weights_sha256: Of the bundle.
        judges: Whose masks they are.
    """
    true = np.array([mask.dice for mask in masks])
    told = np.empty(len(masks))
    for others, left_out in _fifths(masks):
        model = _calibrated(others, weights_sha256)
        told[left_out] = [model.predict(masks[n].evidence) for n in left_out]
    return _calibrated(masks, weights_sha256).model_copy(
        update={
            "error": float(np.abs(told - true).mean()),
            "correlation": float(np.nan_to_num(spearmanr(told, true).statistic)),
            "judges": judges,
        }
    )


def signs_of(
    evidence: QualityEvidence, volumes_ml: Spreads, appearance: Spreads
) -> dict[str, float]:
    """Signs of quality that a linear model can add up.

    Args:
        evidence: What is known of a mask.
        volumes_ml: For each label, mean and deviation of the logarithm of its volume in ml.
        appearance: For each number of `appearance`, mean and deviation.
    """
    found = {
        name: _logit(value) if name.endswith("dice") else value
        for name, value in evidence.features.items()
    }
    away = [
        abs(np.log(max(evidence.volumes_ml[name], _SMALLEST_ML)) - mean) / deviation
        for name, (mean, deviation) in volumes_ml.items()
    ]
    found["volume"] = float(np.minimum(away, 10).max()) if away else 0.0
    strange = [
        min(abs(evidence.appearance[name] - mean) / deviation, 10)
        for name, (mean, deviation) in appearance.items()
        if name in evidence.appearance
    ]
    found["strange_image"] = float(np.log1p(np.mean(np.square(strange)))) if strange else 0.0
    return found


def save_quality_model(model: QualityModel, folder: Path) -> Path:
    """Write a model beside its bundle, whole or not at all.

    Raises:
        CannotWrite: If it cannot be written.
    """
    path = folder / FILE_NAME
    write_text(path, model.model_dump_json(indent=1) + "\n")
    return path


def read_quality_model(bundle: Bundle) -> QualityModel | None:
    """The model in a bundle's folder; None where there is none, or it belongs to other weights.

    Raises:
        CorruptBundle: If the file is no such model.
    """
    if bundle.folder is None or not (bundle.folder / FILE_NAME).is_file():
        return None
    path = bundle.folder / FILE_NAME
    try:
        model = QualityModel.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptBundle(
            f"A model of quality is read as it was written; {path} is not.",
            received=error.errors()[0]["msg"],
            cure="Make it again: medseg drift baseline.",
        ) from error
    return model if model.weights_sha256 == bundle.weights_sha256 else None


def _fifths(masks: Sequence[JudgedMask]) -> Iterator[tuple[list[JudgedMask], IntArray]]:
    """The masks of all cases but a fifth, and where those of that fifth are."""
    cases = sorted({mask.case for mask in masks})
    fifth = {case: n % FOLDS for n, case in enumerate(cases)}
    of_mask = np.array([fifth[mask.case] for mask in masks])
    for n in range(min(FOLDS, len(cases))):
        others = [mask for mask, one in zip(masks, of_mask, strict=True) if one != n]
        yield others, np.flatnonzero(of_mask == n)


def _calibrated(masks: Sequence[JudgedMask], weights_sha256: str) -> QualityModel:
    """A regression, and an isotonic regression of Dice on what it says of cases left out.

    The steps are shifted so that the mean over all masks is right.
    """
    levels = np.empty(len(masks))
    for others, left_out in _fifths(masks):
        model = _regression(others, weights_sha256)
        levels[left_out] = [model.level(masks[n].evidence) for n in left_out]
    true = np.array([mask.dice for mask in masks])
    order, dice = _steps(levels, true)
    model = _regression(masks, weights_sha256)
    own = np.array([model.level(mask.evidence) for mask in masks])
    dice += (true - own - np.interp(own, order, dice - order)).mean()
    return model.model_copy(update={"order": tuple(order.tolist()), "dice": tuple(dice.tolist())})


def _steps(levels: FloatArray, dice: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean level and Dice of each hundred of masks, made not to fall; equal levels are one step."""
    rising = np.argsort(levels, kind="stable")
    parts = np.array_split(rising, max(1, len(rising) // STEP_MASKS))
    order, which, counts = np.unique(
        np.array([levels[part].mean() for part in parts]), return_inverse=True, return_counts=True
    )
    means = np.bincount(which, [dice[part].mean() for part in parts]) / counts
    return order, np.asarray(isotonic_regression(means, weights=counts).x)


def _regression(masks: Sequence[JudgedMask], weights_sha256: str) -> QualityModel:
    """Ridge regression of the logit of Dice on the signs; its levels are not calibrated."""
    plain = [mask.evidence for mask in masks if not mask.is_copy] or [m.evidence for m in masks]
    volumes_ml = _spreads(
        [{k: np.log(max(v, _SMALLEST_ML)) for k, v in one.volumes_ml.items()} for one in plain]
    )
    appearance = _spreads([dict(one.appearance) for one in plain])
    rows = [signs_of(mask.evidence, volumes_ml, appearance) for mask in masks]
    names = tuple(rows[0])
    signs = np.array([[row[name] for name in names] for row in rows])
    means, deviations = signs.mean(0), np.maximum(signs.std(0), 1e-9)
    standard = _standardised(signs, means, deviations)
    dice = np.array([mask.dice for mask in masks])
    target = np.array([_logit(value) for value in dice])
    gram = standard.T @ standard + RIDGE * np.eye(len(names))
    weights = np.linalg.solve(gram, standard.T @ (target - target.mean()))
    return QualityModel(
        weights_sha256=weights_sha256,
        signs=names,
        means=tuple(map(float, means)),
        deviations=tuple(map(float, deviations)),
        weights=tuple(map(float, weights)),
        offset=float(target.mean()),
        order=(0.0,),
        dice=(0.0,),
        span=(float(dice.min()), float(dice.max())),
        volumes_ml=volumes_ml,
        appearance=appearance,
        masks=len(masks),
        cases=len({mask.case for mask in masks}),
        error=0.0,
        correlation=0.0,
    )


def _spreads(rows: Sequence[Mapping[str, float]]) -> Spreads:
    """Mean and deviation of numbers that all rows have."""
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if name in row])
        mean = float(values.mean())
        found[name] = (mean, max(float(values.std()), 1e-3 * abs(mean), 1e-6))
    return found


def _standardised(signs: FloatArray, means: FloatArray, deviations: FloatArray) -> FloatArray:
    """Signs in deviations, bounded so that a single one cannot decide everything."""
    return np.asarray(np.clip((signs - means) / deviations, -_LARGEST_Z, _LARGEST_Z))


def _logit(value: float) -> float:
    bounded = min(max(value, _EDGE), 1 - _EDGE)
    return float(np.log(bounded / (1 - bounded)))
