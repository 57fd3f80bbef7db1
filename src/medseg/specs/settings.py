"""What the settings of every network have, and how a grid grows to one that a network takes."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from medseg.specs.base import FROZEN

Dims = Literal[2, 3]
"""Spatial axes of a network."""


class NetworkSettings(BaseModel):
    """What every network has.

    Attributes:
        dims: 2 or 3, the number of spatial axes.
        in_channels: Channels of the image.
        classes: Channels of the logits: one for each class, background included, or one for each
            region.
    """

    model_config = FROZEN

    dims: Dims
    in_channels: int = Field(ge=1)
    classes: int = Field(ge=1)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Grid sizes that the network takes are multiples of these, one for each spatial axis."""
        return (1,) * self.dims

    @property
    def fixed_grid(self) -> tuple[int, ...] | None:
        """The one grid that the network takes; None where any multiple of `divisor` will do."""
        return None

    @property
    def keeps_grid(self) -> bool:
        """Whether logits lie on the grid of the image; valid convolutions lose its border."""
        return True


def fitting_grid(grid: Sequence[int], divisor: Sequence[int]) -> tuple[int, ...]:
    """The smallest grid that holds `grid` and that a network of this divisor takes.

    Args:
        grid: Voxels along each axis.
        divisor: See `NetworkSettings.divisor`.

    Returns:
        Multiples of `divisor`, the axis with the most voxels at least twice it: normalisation at
        the coarsest stage needs more than one voxel.
    """
    times = [-(-n // d) for n, d in zip(grid, divisor, strict=True)]
    if max(times) < 2:
        times[max(range(len(grid)), key=lambda axis: grid[axis])] = 2
    return tuple(t * d for t, d in zip(times, divisor, strict=True))


def scaled_width(full: int, share: float, step: int) -> int:
    """A share of a width, in whole steps, at least one of them."""
    return max(1, round(full * share / step)) * step
