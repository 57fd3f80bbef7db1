"""Settings of convolutional U-Nets: from the first one of 2015 to nnU-Net's residual encoder.

All of them are stages, finest first, and a step from each stage to the next.
"""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from medseg.specs.settings import NetworkSettings

Padding = Literal["same", "valid"]
"""Whether convolutions keep the grid, or lose a voxel at each side as the papers' do."""

_LOST = 4
"""Voxels along an axis that two valid convolutions of edge 3 take off."""


class StagedSettings(NetworkSettings):
    """What all U-Nets have.

    Attributes:
        features: Width of each stage, finest first.
        strides: Step into each stage along each axis; all ones for the first.
    """

    features: tuple[int, ...] = Field(min_length=2)
    strides: tuple[tuple[int, ...], ...]

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if len(self.strides) != len(self.features):
            raise ValueError("features and strides have one entry a stage")
        if any(len(step) != self.dims for step in self.strides):
            raise ValueError("strides have one number for each spatial axis")
        if set(self.strides[0]) != {1}:
            raise ValueError("the first stage keeps the resolution: its strides are 1")
        if min(self.features) < 1 or min(map(min, self.strides)) < 1:
            raise ValueError("features and strides are positive")
        return self

    @property
    def divisor(self) -> tuple[int, ...]:
        """Voxels along each axis that become one voxel at the coarsest stage."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))


class _PooledSettings(StagedSettings):
    """U-Nets that pool between stages of two convolutions each.

    Attributes:
        padding: "same" keeps the grid of the image; "valid" is the paper's, and gives logits of
            the middle of the image only.
    """

    padding: Padding = "same"

    @property
    def keeps_grid(self) -> bool:
        """Whether logits lie on the grid of the image."""
        return self.padding == "same"

    def output_grid(self, grid: tuple[int, ...]) -> tuple[int, ...] | None:
        """The grid of the logits of an image; None if this network does not take its grid."""
        steps = zip(*self.strides, strict=True)
        lost = 0 if self.keeps_grid else _LOST
        sizes = [_through(size, step[1:], lost) for size, step in zip(grid, steps, strict=True)]
        return None if None in sizes else tuple(size for size in sizes if size is not None)

    @property
    def smallest_grid(self) -> tuple[int, ...]:
        """The smallest grid that this network takes; larger ones add multiples of `divisor`."""
        lost = 0 if self.keeps_grid else _LOST
        smallest = []
        for step in zip(*self.strides, strict=True):
            size = 1
            while _through(size, step[1:], lost) is None:
                size += 1
            smallest.append(size)
        return tuple(smallest)


class UNetSpec(_PooledSettings):
    """The U-Net (Ronneberger et al., MICCAI 2015).

    The paper's form is 2D with valid convolutions. Convolutions that keep the grid and the 3D form
    are ours.

    Attributes:
        dropout: Share of values dropped in training behind each of the two coarsest stages.
    """

    kind: Literal["unet"] = "unet"
    dropout: float = Field(default=0.5, ge=0, lt=1)

    @classmethod
    def paper(cls) -> Self:
        """Grey images of 572 x 572 pixels in, two classes of 388 x 388 out."""
        return cls(
            dims=2,
            in_channels=1,
            classes=2,
            features=(64, 128, 256, 512, 1024),
            strides=((1, 1), *((2, 2),) * 4),
            padding="valid",
        )


class UNet3DSpec(_PooledSettings):
    """The 3D U-Net (Çiçek et al., MICCAI 2016).

    Each stage of the encoder has half its `features` behind its first convolution and all of them
    behind its second: channels are doubled before a pool, not behind it. The paper's form is 3D
    with valid convolutions. Convolutions that keep the grid and the 2D form are ours.
    """

    kind: Literal["unet3d"] = "unet3d"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(width % 2 for width in self.features):
            raise ValueError("features are even: the first convolution of a stage has half of them")
        return self

    @classmethod
    def paper(cls) -> Self:
        """Three channels of 132 x 132 x 116 voxels in, three classes of 44 x 44 x 28 out."""
        return cls(
            dims=3,
            in_channels=3,
            classes=3,
            features=(64, 128, 256, 512),
            strides=((1, 1, 1), *((2, 2, 2),) * 3),
            padding="valid",
        )


class AttentionUNetSpec(StagedSettings):
    """The Attention U-Net (Oktay et al., MIDL 2018), with two gates a skip and fused scales.

    This is the variant `unet_CT_multi_att_dsv_3D` of the authors' repository. Its form is 3D; the
    2D form and steps that differ between axes are ours.

    Attributes:
        is_gated: Whether skips pass attention gates; False is the paper's baseline.
    """

    kind: Literal["attention_unet"] = "attention_unet"
    is_gated: bool = True

    @classmethod
    def paper(cls, *, is_gated: bool = True) -> Self:
        """CT of 160 x 160 x 96 voxels, four classes."""
        return cls(
            dims=3,
            in_channels=1,
            classes=4,
            features=(16, 32, 64, 128, 256),
            strides=((1, 1, 1), *((2, 2, 2),) * 4),
            is_gated=is_gated,
        )


class PlainUNetSpec(StagedSettings):
    """nnU-Net's plain U-Net (Isensee et al., Nature Methods 18, 2021), in 2D and 3D.

    Attributes:
        kernels: Kernel of each stage along each axis.
        encoder_convs: Convolutions in each encoder stage.
        decoder_convs: Convolutions in each decoder stage, coarsest first.
        deep_supervision: Whether training also gets the logits of coarser decoder stages.
    """

    kind: Literal["plain_unet"] = "plain_unet"
    kernels: tuple[tuple[int, ...], ...]
    encoder_convs: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    deep_supervision: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require_each_stage(self, self.kernels, encoder_convs=self.encoder_convs)
        if len(self.decoder_convs) != len(self.features) - 1:
            raise ValueError("decoder_convs has one entry fewer than there are stages")
        return self

    @classmethod
    def paper(cls) -> Self:
        """Six stages for patches of 128^3 voxels, one channel, three classes."""
        return cls(
            dims=3,
            in_channels=1,
            classes=3,
            features=(32, 64, 128, 256, 320, 320),
            kernels=((3, 3, 3),) * 6,
            strides=((1, 1, 1), *((2, 2, 2),) * 5),
            encoder_convs=(2,) * 6,
            decoder_convs=(2,) * 5,
        )


class ResEncUNetSpec(StagedSettings):
    """nnU-Net with a residual encoder (Isensee et al., nnU-Net Revisited, MICCAI 2024).

    In 2D and 3D. The presets M and L are this network with patches for 8 and 24 GB of memory.

    Attributes:
        kernels: Kernel of each stage along each axis.
        encoder_blocks: Residual blocks in each encoder stage.
        decoder_convs: Convolutions in each decoder stage, coarsest first.
        deep_supervision: Whether training also gets the logits of coarser decoder stages.
    """

    kind: Literal["resenc_unet"] = "resenc_unet"
    kernels: tuple[tuple[int, ...], ...]
    encoder_blocks: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    deep_supervision: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require_each_stage(self, self.kernels, encoder_blocks=self.encoder_blocks)
        if len(self.decoder_convs) != len(self.features) - 1:
            raise ValueError("decoder_convs has one entry fewer than there are stages")
        return self

    @classmethod
    def paper(cls) -> Self:
        """Six stages for patches of 128^3 (M) or 160^3 (L) voxels, one channel, three classes."""
        return cls(
            dims=3,
            in_channels=1,
            classes=3,
            features=(32, 64, 128, 256, 320, 320),
            kernels=((3, 3, 3),) * 6,
            strides=((1, 1, 1), *((2, 2, 2),) * 5),
            encoder_blocks=(1, 3, 4, 6, 6, 6),
            decoder_convs=(1,) * 5,
        )


def _require_each_stage(
    spec: StagedSettings, kernels: tuple[tuple[int, ...], ...], **counts: tuple[int, ...]
) -> None:
    for name, entries in ({"kernels": kernels} | counts).items():
        if len(entries) != len(spec.features):
            raise ValueError(f"{name} has one entry a stage")
    if any(len(kernel) != spec.dims for kernel in kernels):
        raise ValueError("kernels have one number for each spatial axis")


def _through(size: int, steps: tuple[int, ...], lost: int) -> int | None:
    """Voxels along an axis that come out of a pooled U-Net; None if a pool leaves a rest."""
    size -= lost
    for step in steps:
        if size < 1 or size % step:
            return None
        size = size // step - lost
    if size < 1:
        return None
    for step in reversed(steps):
        size = size * step - lost
        if size < 1:
            return None
    return size
