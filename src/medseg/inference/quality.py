"""How far to trust a mask for which there is no reference.

The estimate is the soft Dice that the network itself expects. With p the probability of a structure
at a voxel and M the voxels where it won,

    expected Dice = 2 * sum(p over M) / (sum(p over all voxels) + |M|)

which is the Dice of M against a truth drawn voxel by voxel from p, numerator and denominator in the
mean. A network that is sure gets 1; doubt at the boundary, or mass that nowhere wins, costs. It
orders cases; it is no measured Dice, because networks are surer than they are right.

Source: Li et al., Estimating Model Performance under Domain Shifts with Class-Specific Confidence
Scores, MICCAI 2022, their Dice estimate without calibration.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import BaseModel
from scipy import ndimage

from medseg.space.votes import TopClasses
from medseg.specs import FROZEN
from medseg.types import AnyArray
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

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
        expected_dice: For each label; None where nothing was found.
        flags: What deserves a look.
    """

    model_config = FROZEN

    score: float
    expected_dice: dict[str, float | None]
    flags: tuple[Flag, ...] = ()


def estimate_quality(
    top: TopClasses,
    label_map: LabelMap,
    *,
    volume_ranges_ml: Mapping[str, tuple[float, float]],
    instances: bool = False,
) -> Quality:
    """Judge a mask by the network's own probabilities and by what training cases look like.

    Args:
        top: Probabilities on the network's grid; class n is the n-th label, from 1.
        label_map: The mask on the case's own grid.
        volume_ranges_ml: For each label name, the volumes between which training cases lie; a
            label that is missing here is not judged by its volume.
        instances: Whether a label holds many objects: then several parts, and parts at the
            border, are as it should be.
    """
    expected = expected_dice(top, len(label_map.labels) + 1)
    volumes = label_map.volumes_ml()
    boxes = _boxes(label_map)
    flags: list[Flag] = []
    for label in label_map.labels:
        flags += _volume_flags(label, volumes[label.name], volume_ranges_ml.get(label.name))
        box = boxes[label.value]
        if box is not None and not instances:
            flags += _shape_flags(label_map, label, box)
    found = [value for value in expected[1:] if value is not None]
    return Quality(
        score=float(np.mean(found)) if found else 0.0,
        expected_dice={x.name: expected[n + 1] for n, x in enumerate(label_map.labels)},
        flags=tuple(flags),
    )


def expected_dice(top: TopClasses, classes: int) -> list[float | None]:
    """Expected Dice of each class (see the module); None for a class that nowhere wins."""
    slots = top.classes.shape[0]
    mass, sure, won = _sums(top.classes.reshape(slots, -1), top.weights.reshape(slots, -1), classes)
    return [float(2 * s / (m + w)) if w else None for m, s, w in zip(mass, sure, won, strict=True)]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sums(
    classes: npt.NDArray[np.integer], weights: npt.NDArray[np.float32], count: int
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """For each class: all its probability, that where it wins, and the voxels where it wins.

    Args:
        classes: Class of each slot, shape (S, voxels).
        weights: Its probability, same shape.
        count: Number of classes N.

    Returns:
        Three float64 arrays, shape (N,).
    """
    mass, sure, won = np.zeros(count), np.zeros(count), np.zeros(count)
    for v in range(classes.shape[1]):
        best = 0
        for s in range(classes.shape[0]):
            mass[classes[s, v]] += weights[s, v]
            if weights[s, v] > weights[best, v]:
                best = s
        won[classes[best, v]] += 1
        sure[classes[best, v]] += weights[best, v]
    return mass, sure, won


def _boxes(label_map: LabelMap) -> dict[int, tuple[slice, ...] | None]:
    """The smallest box around each label, by value."""
    largest = max(label.value for label in label_map.labels)
    found = ndimage.find_objects(label_map.array, max_label=largest)
    return {label.value: found[label.value - 1] for label in label_map.labels}


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


def _shape_flags(label_map: LabelMap, label: Label, box: tuple[slice, ...]) -> list[Flag]:
    flags = []
    sides = zip(box, label_map.geometry.grid_size, strict=True)
    if any(n > 1 and (side.start == 0 or side.stop == n) for side, n in sides):
        what = f"{label.name} reaches the border of the image and may go on outside."
        flags.append(Flag(kind="touches_border", structure=label.name, what=what))
    parts, _ = ndimage.label(label_map.array[box] == label.value)
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
    large = int((sizes >= LARGE_COMPONENT * sizes[0]).sum())
    if large > 1:
        what = f"{label.name} lies in {large} separate large parts."
        flags.append(Flag(kind="several_components", structure=label.name, what=what))
    return flags
