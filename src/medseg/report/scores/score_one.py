"""One case scored: every structure, and where asked its lesions, objects and probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from medseg.errors import MedsegError
from medseg.metrics.case import LabelScores, score_case
from medseg.report.scores.masks import Masks, as_one_label, read_masks, require_known
from medseg.report.scores.pairs import Pair
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region, Structures, disjoint, merged
from medseg.types import IntArray
from medseg.volume.labels import Label, Labels, make_labels

if TYPE_CHECKING:
    from medseg.metrics.calibration import Calibration
    from medseg.metrics.lesions import LesionScores, PanopticScores


LESION_MATCHING: Final = "overlap"
"""Lesions that share a voxel may be a pair; see `medseg.metrics.matching`."""

OBJECT_MATCHING: Final = "half"
"""Objects are a pair if their IoU is above 0.5, as panoptic quality has it."""


@dataclass(frozen=True)
class NamedScores:
    """What a case scored, by the names of the structures.

    Attributes:
        scores: Of each structure.
        diagonal_mm: From corner to corner of the grid: no distance can be larger.
        lesions: Of the structures whose parts are judged by themselves.
        objects: Of masks that number objects.
        calibration: Of the structures for which there are probabilities.
        resampled: Whether the prediction was brought onto the grid of the reference.
    """

    scores: Mapping[str, LabelScores]
    diagonal_mm: float
    lesions: Mapping[str, "LesionScores"] = field(default_factory=dict)
    objects: "PanopticScores | None" = None
    calibration: Mapping[str, "Calibration"] = field(default_factory=dict)
    resampled: bool = False


@dataclass(frozen=True)
class Layer:
    """Structures that have no voxel in common, as the values of two label maps.

    Attributes:
        predicted: Of the prediction, shape (I, J, K).
        reference: Of the reference.
        value_of: The value of each structure by its name.
    """

    predicted: IntArray
    reference: IntArray
    value_of: Mapping[str, int]


def score_pair(
    pair: Pair,
    labels: Labels | None,
    regions: Sequence[Region],
    settings: ScoreSettings,
    probabilities: Path | None = None,
) -> NamedScores:
    """Read and score a case; an error says in which case it arose.

    Args:
        pair: Its files. Without a prediction every structure is missed, an absent one too.
        labels: The structures; None for whatever values the masks hold.
        regions: Unions of values that are scored beside them.
        settings: The definitions.
        probabilities: A file with a channel for each label.

    Raises:
        MedsegError: If it cannot be read or scored.
    """
    try:
        return _score(pair, labels, regions, settings, probabilities)
    except MedsegError as error:
        known = (f"case {pair.case}", str(pair.reference), str(pair.predicted))
        if any(words in str(error) for words in known):
            raise
        received = f"{error.received} in case {pair.case}".strip()
        raise type(error)(error.rule, received=received, cure=error.cure) from error


def _score(
    pair: Pair,
    labels: Labels | None,
    regions: Sequence[Region],
    settings: ScoreSettings,
    probabilities: Path | None,
) -> NamedScores:
    raw = read_masks(pair, labels)
    masks = as_one_label(raw, pair.objects_of)
    structures = Structures(labels if labels is not None else _found(masks), tuple(regions))
    if labels is not None:
        require_known(masks, structures.values, structures.labels, pair.case)
    geometry = masks.reference.geometry
    layers = list(_layers(masks, structures))
    scores: dict[str, LabelScores] = {}
    for layer in layers:
        scores |= _layer_scores(layer, geometry.spacing_mm, settings)
    if pair.predicted is None:
        scores = {
            name: LabelScores.unpredicted(0.0, tube=name in settings.tubes)
            if one.status == "both_empty"
            else one
            for name, one in scores.items()
        }
    extent = np.multiply(geometry.grid_size, geometry.spacing_mm)
    return NamedScores(
        scores={name: scores[name] for name in structures.names},
        diagonal_mm=float(np.linalg.norm(extent)),
        lesions=_lesions(layers, geometry.spacing_mm, settings),
        objects=_objects(raw) if pair.objects_of is not None else None,
        calibration=_calibration(masks, structures, probabilities) if probabilities else {},
        resampled=masks.resampled,
    )


def _found(masks: Masks) -> Labels:
    """The labels that are in the masks; the same value means the same structure."""
    by_value = {label.value for mask in masks.all for label in mask.labels}
    return make_labels(Label(value=value, name=f"label_{value}") for value in by_value)


def _layers(masks: Masks, structures: Structures) -> Iterator[Layer]:
    """The labels, then the regions in groups that do not overlap."""
    reference = masks.reference.array
    predicted = np.zeros_like(reference) if masks.predicted is None else masks.predicted.array
    if structures.labels:
        values = {label.name: label.value for label in structures.labels}
        yield Layer(predicted, reference, values)
    for group in disjoint(structures.regions):
        values = {region.name: n + 1 for n, region in enumerate(group)}
        yield Layer(merged(predicted, group), merged(reference, group), values)


def _layer_scores(
    layer: Layer, spacing_mm: Sequence[float], settings: ScoreSettings
) -> dict[str, LabelScores]:
    """Scores by name, each structure at its own tolerance."""
    found: dict[str, LabelScores] = {}
    for tolerance in dict.fromkeys(settings.tolerance_of(name) for name in layer.value_of):
        value_of = {
            n: v for n, v in layer.value_of.items() if settings.tolerance_of(n) == tolerance
        }
        scores = score_case(
            layer.predicted,
            layer.reference,
            values=list(value_of.values()),
            spacing_mm=spacing_mm,
            tolerance_mm=tolerance,
            surface=settings.surface,
            tubes=[value for name, value in value_of.items() if name in settings.tubes],
        )
        found |= {name: scores[value] for name, value in value_of.items()}
    return found


def _lesions(
    layers: Sequence[Layer], spacing_mm: Sequence[float], settings: ScoreSettings
) -> dict[str, "LesionScores"]:
    if not settings.lesions:
        return {}
    from medseg.metrics.lesions import score_lesions

    return {
        name: score_lesions(
            layer.predicted == value,
            layer.reference == value,
            spacing_mm=spacing_mm,
            matching=LESION_MATCHING,
        )
        for layer in layers
        for name, value in layer.value_of.items()
        if name in settings.lesions
    }


def _objects(masks: Masks) -> "PanopticScores":
    from medseg.metrics.lesions import panoptic_quality

    reference = masks.reference.array
    if masks.predicted is None:
        return panoptic_quality(np.zeros_like(reference), reference, matching=OBJECT_MATCHING)
    return panoptic_quality(_numbered(masks.predicted.array), reference, matching=OBJECT_MATCHING)


def _numbered(array: IntArray) -> IntArray:
    """Objects by number; a mask of one value only has its connected parts numbered."""
    if array.max(initial=0) != array[array > 0].min(initial=np.iinfo(array.dtype).max):
        return array
    from scipy.ndimage import generate_binary_structure, label

    return np.asarray(label(array > 0, generate_binary_structure(array.ndim, array.ndim))[0])


def _calibration(masks: Masks, structures: Structures, path: Path) -> dict[str, "Calibration"]:
    from medseg.metrics.calibration import calibration
    from medseg.report.scores.probabilities import read_probabilities

    if masks.predicted is None:
        return {}
    reference = masks.reference
    probability_of = read_probabilities(path, structures, reference.geometry)
    return {
        name: calibration(
            probability_of(name), np.isin(reference.array, structures.values_of(name))
        )
        for name in structures.names
    }
