"""Settings of MedNeXt: the sizes of the paper, and smaller ones that follow from a patch."""

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from medseg.specs.settings import Dims, NetworkSettings, scaled_width


class MedNeXtSpec(NetworkSettings):
    """MedNeXt: a U-Net of ConvNeXt blocks (Roy et al., MICCAI 2023).

    The paper has 2D and 3D forms. Strides that differ between axes are ours.

    Attributes:
        width: Channels at full resolution; each coarser stage doubles them.
        strides: Step between one stage and the next along each axis, finest first.
        blocks: Blocks in each stage: encoder, bottleneck, decoder.
        expansions: How many times wider a block of each stage is inside.
        kernel: Edge of the depthwise convolutions, odd.
        deep_supervision: Whether training also gets the logits of the coarser stages.
        unused_parameters: Whether to hold the one parameter of the published code that carries no
            weight of the network.
    """

    kind: Literal["mednext"] = "mednext"
    width: int = Field(default=32, ge=1)
    strides: tuple[tuple[int, ...], ...]
    blocks: tuple[int, ...]
    expansions: tuple[int, ...]
    kernel: int = Field(default=3, ge=1)
    deep_supervision: bool = True
    unused_parameters: bool = False

    @model_validator(mode="after")
    def _check(self) -> "MedNeXtSpec":
        stages = 2 * len(self.strides) + 1
        if not len(self.blocks) == len(self.expansions) == stages:
            raise ValueError("blocks and expansions have one entry for each of the stages")
        if any(len(step) != self.dims or not set(step) <= {1, 2} for step in self.strides):
            raise ValueError("strides have a 1 or a 2 for each spatial axis")
        if self.kernel % 2 == 0:
            raise ValueError("kernel is odd")
        if min(*self.blocks, *self.expansions) < 1:
            raise ValueError("blocks and expansions are positive")
        return self

    @property
    def divisor(self) -> tuple[int, ...]:
        """Voxels along each axis that become one at the bottleneck."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))

    @classmethod
    def paper(cls, size: Literal["S", "B", "M", "L"] = "S", *, kernel: int = 3) -> Self:
        """128^3 voxels, one channel, 14 classes, counted without deep supervision."""
        blocks, expansions = _MEDNEXT[size]
        return cls(
            dims=3,
            in_channels=1,
            classes=14,
            strides=((2, 2, 2),) * 4,
            blocks=blocks,
            expansions=expansions,
            kernel=kernel,
            deep_supervision=False,
            unused_parameters=True,
        )

    @classmethod
    def scaled(
        cls,
        *,
        dims: Dims,
        grid: Sequence[int],
        in_channels: int,
        classes: int,
        width_share: float = 1.0,
    ) -> Self:
        """The small one for patches of this grid, `width_share` times as wide as the paper's.

        At most four times the axes with 8 voxels or more are halved.
        """
        strides: list[tuple[int, ...]] = []
        size = list(grid)
        while len(strides) < 4 and (not strides or max(size) >= 8):
            step = tuple(2 if n >= 8 or not strides else 1 for n in size)
            size = [-(-n // s) for n, s in zip(size, step, strict=True)]
            strides.append(step)
        stages = 2 * len(strides) + 1
        return cls(
            dims=dims,
            in_channels=in_channels,
            classes=classes,
            width=scaled_width(32, width_share, 4),
            strides=tuple(strides),
            blocks=(2,) * stages,
            expansions=(2,) * stages,
        )


_MEDNEXT: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "S": ((2,) * 9, (2,) * 9),
    "B": ((2,) * 9, (2, 3, 4, 4, 4, 4, 4, 3, 2)),
    "M": ((3, 4, 4, 4, 4, 4, 4, 4, 3), (2, 3, 4, 4, 4, 4, 4, 3, 2)),
    "L": ((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}
