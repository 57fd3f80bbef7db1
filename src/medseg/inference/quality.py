"""How far to trust a mask for which there is no reference.

The estimate is the soft Dice that the network itself expects. With p the probability of a structure
at a voxel and M the voxels where it won,

    expected Dice = 2 * sum(p over M) / (sum(p over all voxels) + |M|)

which is the Dice of M against a truth drawn voxel by voxel from p, numerator and denominator in the
mean. Before that, probabilities are taken at the bundle's temperature T: each becomes p^(1/T) over
the sum of these, which is what dividing a network's logits by T does. It changes how sure a voxel
is and never which class wins. A network that is sure gets 1; doubt at the boundary, or mass that
nowhere wins, costs. It orders cases; it is no measured Dice, because networks are surer than they
are right; `quality_model` foretells Dice by a model that was fitted on judged cases. What both are
worth stands in docs/benchmarks.md (bench/quality.py).

Source: Li et al., Estimating Model Performance under Domain Shifts with Class-Specific Confidence
Scores, MICCAI 2022, their Dice estimate; temperature: Guo et al., On Calibration of Modern Neural
Networks, ICML 2017.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from medseg.inference.components import parts_of
from medseg.inference.evidence import probabilities
from medseg.space.painting import INSIDE, weights_of
from medseg.space.votes import TopClasses, largest_slot
from medseg.specs import FROZEN
from medseg.types import AnyArray, FloatArray, IntArray
from medseg.volume.labels import Label
from medseg.volume.regions import Regions, judged
from medseg.volume.volume import LabelMap

_VALUES_AT_ONCE = 1 << 16
"""Probabilities that are summed together."""

LARGE_COMPONENT = 0.1
"""Share of the largest component from which on another one is worth a look."""


class Flag(BaseModel):
    """Something about one structure that deserves a look.

    Attributes:
        kind: For machines.
        structure: Name of the label.
        what: For people, one sentence.
    """

    model_config = FROZEN

    kind: Literal["nothing_found", "outside_training_range", "touches_border", "several_components"]
    structure: str
    what: str


class Quality(BaseModel):
    """How far to trust one mask.

    Attributes:
        score: Mean expected Dice of the structures found, 0 to 1; 0 if none was found.
        expected_dice: For each label or region; None where nothing was found.
        flags: What deserves a look.
        predicted_dice: Mean Dice that a fitted model foretells; see
            `medseg.inference.quality_model`. None where it was not asked for.
    """

    model_config = FROZEN

    score: float
    expected_dice: dict[str, float | None]
    flags: tuple[Flag, ...] = ()
    predicted_dice: float | None = None


class Expectation:
    """Sums over the voxels of one configuration that its expected Dice is made of (see the module).

    Args:
        count: Number of classes N, background included; or of regions.
        regions: Whether these are regions: each is wherever it is likelier than not, and a
            temperature divides the logit of its sigmoid.
        temperature: T.
    """

    def __init__(self, count: int, *, regions: bool = False, temperature: float = 1.0) -> None:
        self._regions, self._temperature = regions, temperature
        self._mass, self._sure, self._won = np.zeros(count), np.zeros(count), np.zeros(count)

    def add(self, top: TopClasses) -> None:
        """Count voxels in, from their probabilities or evidence: of a volume, or of a part of it.

        Class n is the n-th label, from 1, or the n-th region, from 0.
        """
        top = probabilities(top)
        sums = self._of_regions(top) if self._regions else self._of_classes(top)
        for total, more in zip((self._mass, self._sure, self._won), sums, strict=True):
            total += more

    def dice(self) -> list[float | None]:
        """Expected Dice of each label (not of background) or region; None if it nowhere wins."""
        first = 0 if self._regions else 1
        rows = zip(self._mass[first:], self._sure[first:], self._won[first:], strict=True)
        return [float(2 * sure / (mass + won)) if won else None for mass, sure, won in rows]

    def _of_classes(self, top: TopClasses) -> tuple[AnyArray, AnyArray, AnyArray]:
        flat = (top.classes.shape[0], -1)
        sums: tuple[AnyArray, AnyArray, AnyArray] = _sums(
            top.classes.reshape(flat),
            top.weights.reshape(flat),
            len(self._mass),
            1 / self._temperature,
        )
        return sums

    def _of_regions(self, top: TopClasses) -> tuple[AnyArray, AnyArray, AnyArray]:
        mass, sure, won = (np.zeros(len(self._mass)) for _ in range(3))
        for n in range(len(mass)):
            weights = weights_of(top, n)
            there = weights > INSIDE
            if self._temperature != 1.0:
                inside = weights ** (1 / self._temperature)
                weights = inside / (inside + (1 - weights) ** (1 / self._temperature))
            mass[n], won[n] = weights.sum(dtype=np.float64), there.sum()
            sure[n] = weights[there].sum(dtype=np.float64)
        return mass, sure, won


def estimate_quality(
    expectations: Sequence[Expectation],
    label_map: LabelMap,
    *,
    volume_ranges_ml: Mapping[str, tuple[float, float]],
    instances: bool = False,
    regions: Regions = (),
) -> Quality:
    """Judge a mask by the networks' own probabilities and by what training cases look like.

    Args:
        expectations: Of each configuration, all voxels counted in. The expected Dice is the mean
            over configurations, 0 of one that finds nothing.
        label_map: The mask on the case's own grid.
        volume_ranges_ml: For each label name, the volumes between which training cases lie; a
            label that is missing here is not judged by its volume.
        instances: Whether a label holds many objects: then several parts, and parts at the
            border, are as it should be.
        regions: Where the networks find regions: then the expected Dice is theirs.
    """
    volumes = label_map.volumes_ml()
    flags: list[Flag] = []
    for label in label_map.labels:
        flags += _volume_flags(label, volumes[label.name], volume_ranges_ml.get(label.name))
    if not instances:
        flags += _border_flags(label_map) + _part_flags(label_map)
    each = [one.dice() for one in expectations]
    by_value = {label.value: volumes[label.name] for label in label_map.labels}
    expected = {
        name: float(np.mean([one[n] or 0.0 for one in each]))
        if any(by_value[value] for value in values)
        else None
        for n, (name, values) in enumerate(judged(label_map.labels, regions).items())
    }
    found = [value for value in expected.values() if value is not None]
    return Quality(
        score=float(np.mean(found)) if found else 0.0,
        expected_dice=expected,
        flags=tuple(flags),
    )


def _sums(
    classes: IntArray, weights: FloatArray, count: int, power: float
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """For each class: all its probability, that where it wins, and the voxels where it wins.

    Args:
        classes: Class of each slot, shape (S, voxels).
        weights: Its probability, same shape.
        count: Number of classes N.
        power: That probabilities are raised to, before they are made to sum to what they did.

    Returns:
        Three float64 arrays, shape (N,).
    """
    mass, sure, won = np.zeros(count), np.zeros(count), np.zeros(count)
    voxels = max(1, _VALUES_AT_ONCE // len(classes))
    for start in range(0, classes.shape[1], voxels):
        some = slice(start, start + voxels)
        numbers, shares = classes[:, some], weights[:, some]
        best = largest_slot(shares)[np.newaxis].astype(np.intp)
        if power != 1.0:
            raised = shares ** np.float32(power)
            after = raised.sum(axis=0)
            shares = raised * (shares.sum(axis=0) / np.where(after > 0, after, 1))
        winners = np.take_along_axis(numbers, best, axis=0)[0]
        mass += np.bincount(numbers.ravel(), shares.ravel(), count)
        sure += np.bincount(winners, np.take_along_axis(shares, best, axis=0)[0], count)
        won += np.bincount(winners, minlength=count)
    return mass, sure, won


def _volume_flags(label: Label, volume_ml: float, known: tuple[float, float] | None) -> list[Flag]:
    if volume_ml == 0:
        if known and known[0] == 0:
            return []
        what = f"No voxel of {label.name} was found."
        return [Flag(kind="nothing_found", structure=label.name, what=what)]
    if known is None or known[0] <= volume_ml <= known[1]:
        return []
    what = (
        f"{label.name} has {volume_ml:.3g} ml; in training cases it had "
        f"{known[0]:.3g} to {known[1]:.3g} ml."
    )
    return [Flag(kind="outside_training_range", structure=label.name, what=what)]


def _border_flags(label_map: LabelMap) -> list[Flag]:
    """Structures with a voxel on an outer face of the image, across a single slice left out."""
    array = label_map.array
    faces = [np.take(array, (0, n - 1), axis) for axis, n in enumerate(array.shape) if n > 1]
    there = {int(value) for face in faces for value in np.unique(face)}
    return [
        Flag(
            kind="touches_border",
            structure=label.name,
            what=f"{label.name} reaches the border of the image and may go on outside.",
        )
        for label in label_map.labels
        if label.value in there
    ]


def _part_flags(label_map: LabelMap) -> list[Flag]:
    """Structures of more than one large part."""
    parts = parts_of(label_map.array)
    flags = []
    for label in label_map.labels:
        own = parts.of(label.value)
        large = int(own.counts[own.sizes >= LARGE_COMPONENT * own.sizes.max(initial=0)].sum())
        if large > 1:
            what = f"{label.name} lies in {large} separate large parts."
            flags.append(Flag(kind="several_components", structure=label.name, what=what))
    return flags
