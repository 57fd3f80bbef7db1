"""Settings of networks: each kind its own class, told apart by `kind`."""

import math
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from medseg.specs.base import FROZEN


class NetworkSettings(BaseModel):
    """What every network has.

    Attributes:
        dims: 2 or 3, the number of spatial axes.
        in_channels: Channels of the image.
        classes: Channels of the logits, background included.
    """

    model_config = FROZEN

    dims: Literal[2, 3]
    in_channels: int = Field(ge=1)
    classes: int = Field(ge=2)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Grid sizes that the network takes are multiples of these, one for each spatial axis."""
        return (1,) * self.dims


class PlainUNetSpec(NetworkSettings):
    """nnU-Net's plain U-Net (Isensee et al., Nature Methods 18, 2021).

    Attributes:
        features: Width of each stage, finest first.
        kernels: Kernel of each stage along each axis.
        strides: Step into each stage along each axis; all ones for the first.
        encoder_convs: Convolutions in each encoder stage.
        decoder_convs: Convolutions in each decoder stage, coarsest first.
        deep_supervision: Whether training also gets the logits of coarser decoder stages.
    """

    kind: Literal["plain_unet"] = "plain_unet"
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_convs: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    deep_supervision: bool = True

    @model_validator(mode="after")
    def _check(self) -> "PlainUNetSpec":
        stages = len(self.features)
        if not len(self.kernels) == len(self.strides) == len(self.encoder_convs) == stages:
            raise ValueError("features, kernels, strides and encoder_convs have one entry a stage")
        if len(self.decoder_convs) != stages - 1:
            raise ValueError("decoder_convs has one entry fewer than there are stages")
        if any(len(v) != self.dims for v in (*self.kernels, *self.strides)):
            raise ValueError("kernels and strides have one number for each spatial axis")
        if set(self.strides[0]) != {1}:
            raise ValueError("the first stage keeps the resolution: its strides are 1")
        return self

    @property
    def divisor(self) -> tuple[int, ...]:
        """Voxels along each axis that become one voxel at the coarsest stage."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))


NetworkSpec = PlainUNetSpec
"""Any network that `medseg.networks.build` knows."""
