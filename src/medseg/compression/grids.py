"""Integers that stand for real numbers: which ones, and how they are chosen from what was seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medseg.types import FloatArray

Form = Literal["unsigned", "signed", "affine"]
"""Integers of 8 bits: from 0 up; of both signs; from 0 up with some of them below zero."""

WEIGHT_LIMIT = 127
"""Largest integer of a weight, by magnitude: -128 is left out, so that signs are alike."""

_SMALLEST = 1e-12
_CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of the largest value at which values may be cut off."""


@dataclass(frozen=True)
class Grid:
    """Numbers that 8 bits can tell apart: (integer - zero) * scale.

    Attributes:
        scale: Distance of neighbours.
        zero: The integer that stands for 0.
        lowest: Smallest integer.
        highest: Largest integer.
    """

    scale: float
    zero: int
    lowest: int
    highest: int

    def __call__(self, values: Tensor) -> Tensor:
        """The nearest numbers of the grid; gradients pass where nothing is cut off."""
        return torch.fake_quantize_per_tensor_affine(
            values, self.scale, self.zero, self.lowest, self.highest
        )

    @property
    def is_signed(self) -> bool:
        """Whether its integers have both signs."""
        return self.lowest < 0


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of the values of one tensor.

    Attributes:
        lowest: Smallest value.
        highest: Largest value.
        sample: Some of them, shape (n,).
    """

    lowest: float
    highest: float
    sample: FloatArray

    @classmethod
    def together(cls, parts: Iterable["Seen"]) -> "Seen":
        """Of several tensors that share one grid."""
        all_parts = list(parts)
        return cls(
            min(one.lowest for one in all_parts),
            max(one.highest for one in all_parts),
            np.concatenate([one.sample for one in all_parts]),
        )


def grid_of(seen: Seen, *, symmetric: bool = False) -> Grid:
    """The grid without a zero point that loses least of what was seen.

    Integers from 0 up where negative values matter little (behind a ReLU, or a LeakyReLU of small
    slope), integers of both signs elsewhere. Without a zero point runtimes need no correction for
    it, and OpenVINO runs transposed convolutions in INT8 too.

    Args:
        seen: Values.
        symmetric: Whether integers must have both signs, as TensorRT asks.
    """
    forms: tuple[Form, ...] = ("signed",) if symmetric else ("unsigned", "signed")
    largest = max(abs(seen.lowest), abs(seen.highest), _SMALLEST)
    grids = [_grid(form, -largest * clip, largest * clip) for form in forms for clip in _CLIPS]
    return min(grids, key=lambda grid: _loss(grid, seen.sample))


def affine_grid(seen: Seen) -> Grid:
    """The grid with a zero point that loses least of what was seen.

    Args:
        seen: Values.
    """
    grids = [_grid("affine", seen.lowest * clip, seen.highest * clip) for clip in _CLIPS]
    return min(grids, key=lambda grid: _loss(grid, seen.sample))


def weight_scales(weight: Tensor, axis: int) -> Tensor:
    """The scale of each channel's integers, from `-WEIGHT_LIMIT` to `WEIGHT_LIMIT`.

    Args:
        weight: Weights of a convolution.
        axis: The axis of its output channels.

    Returns:
        Shape (channels,), all above 0.
    """
    others = [n for n in range(weight.ndim) if n != axis]
    return weight.detach().abs().amax(dim=others).clamp(min=_SMALLEST) / WEIGHT_LIMIT


def on_weight_grid(weight: Tensor, axis: int) -> Tensor:
    """Weights as their integers stand for them; gradients pass.

    Args:
        weight: Weights of a convolution.
        axis: The axis of its output channels.
    """
    scales = weight_scales(weight, axis)
    zeros = torch.zeros(len(scales), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(
        weight, scales, zeros, axis, -WEIGHT_LIMIT, WEIGHT_LIMIT
    )


def _grid(form: Form, low: float, high: float) -> Grid:
    match form:
        case "unsigned":
            return Grid(max(high, _SMALLEST) / 255, 0, 0, 255)
        case "signed":
            return Grid(max(high, _SMALLEST) / 127, 0, -128, 127)
        case "affine":
            low, high = min(low, 0.0), max(high, 0.0, _SMALLEST)
            scale = (high - low) / 255
            return Grid(scale, round(-low / scale), 0, 255)


def _loss(grid: Grid, sample: FloatArray) -> float:
    integers = np.clip(np.rint(sample / grid.scale) + grid.zero, grid.lowest, grid.highest)
    return float(np.square((integers - grid.zero) * grid.scale - sample).mean(dtype=np.float64))
