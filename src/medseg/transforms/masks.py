"""The mask of a cascade's first stage: varied as nnU-Net does, then shown as channels.

At prediction the mask is as wrong as the first stage is. In training it is made worse on purpose,
so that the second stage does not learn to copy it: structures grow, shrink or lose a part.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from medseg.specs import FROZEN, MaskAugmentSpec
from medseg.transforms.balls import Operator, operated
from medseg.types import IntArray

_OPERATORS: tuple[Operator, ...] = ("dilation", "erosion", "opening", "closing")

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels of one part touch, be it at a corner (nnU-Net's)."""


class Operation(BaseModel):
    """One structure changed by a ball.

    Attributes:
        structure: Its class index.
        operator: What is done.
        radius_voxels: Of the ball.
    """

    model_config = FROZEN

    structure: int = Field(ge=1)
    operator: Literal["dilation", "erosion", "opening", "closing"]
    radius_voxels: int = Field(ge=1)


class Removal(BaseModel):
    """One connected part of a structure taken out.

    Attributes:
        structure: Its class index.
        choice: Which of its parts, as a share of their number.
        below_share: Of the patch; only parts that cover less are chosen from.
    """

    model_config = FROZEN

    structure: int = Field(ge=1)
    choice: float = Field(ge=0, lt=1)
    below_share: float = Field(ge=0, le=1)


class MaskParams(BaseModel):
    """Everything that was drawn for one mask, applied in this order.

    Attributes:
        operations: Structures in the order they are changed; none where it was not drawn.
        removals: Structures in the order they lose a part.
    """

    model_config = FROZEN

    operations: tuple[Operation, ...] = ()
    removals: tuple[Removal, ...] = ()


def draw_mask(spec: MaskAugmentSpec, structures: int, generator: np.random.Generator) -> MaskParams:
    """Draw what happens to one mask.

    Args:
        spec: Probabilities and ranges.
        structures: Structures that a mask may hold: class indices 1 to this.
        generator: Gives all random numbers, and nothing else does.

    Source:
        `ApplyRandomBinaryOperatorTransform` and
        `RemoveRandomConnectedComponentFromOneHotEncodingTransform` of batchgeneratorsv2, with the
        settings of nnU-Net v2.
    """
    operations: list[Operation] = []
    removals: list[Removal] = []
    if generator.random() < spec.operator_probability:
        low, high = spec.operator_radius_voxels
        operations = [
            Operation(
                structure=int(structure) + 1,
                operator=_OPERATORS[int(generator.integers(len(_OPERATORS)))],
                radius_voxels=int(generator.integers(low, high + 1)),
            )
            for structure in generator.permutation(structures)
        ]
    if generator.random() < spec.removal_probability:
        removals = [
            Removal(
                structure=int(structure) + 1,
                choice=float(generator.random()),
                below_share=spec.removal_share,
            )
            for structure in generator.permutation(structures)
        ]
    return MaskParams(operations=tuple(operations), removals=tuple(removals))


def vary_mask(mask: IntArray, params: MaskParams) -> IntArray:
    """A mask after what was drawn; the input stays as it is.

    A voxel that a structure gains is taken from whatever was there, one that it loses becomes
    background.

    Args:
        mask: Class indices, shape (I, J, K).
        params: What was drawn.
    """
    varied = mask.copy()
    for operation in params.operations:
        before = varied == operation.structure
        if before.any():
            varied[before] = 0
            after = operated(before, operation.operator, operation.radius_voxels)
            varied[after] = operation.structure
    for removal in params.removals:
        _remove(varied, removal)
    return varied


def mask_channels(mask: IntArray, structures: int) -> npt.NDArray[np.float32]:
    """A channel for each structure, 1 where the mask holds it.

    Args:
        mask: Class indices, any shape.
        structures: How many channels; class n becomes the n-th.

    Returns:
        Shape (structures, *mask.shape).
    """
    classes = np.arange(1, structures + 1).reshape(-1, *(1,) * mask.ndim)
    return np.equal(mask[np.newaxis], classes, dtype=np.bool_).astype(np.float32)


def _remove(mask: IntArray, removal: Removal) -> None:
    """Take one part out of a mask, in place."""
    from scipy.ndimage import label  # slow to load

    parts, count = label(mask == removal.structure, _TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(sizes < removal.below_share * mask.size) + 1
    if small.size:
        mask[parts == small[int(removal.choice * small.size)]] = 0
