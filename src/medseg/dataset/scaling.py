"""A network of each kind in the shape that spacing and patch give it.

nnU-Net's rules say how often each axis can be halved. The other kinds take as many of these steps
as their paper has stages, and widths in proportion to the paper's: a width of `FULL_WIDTH` stands
for the paper's own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from medseg.dataset.topology import FULL_WIDTH, Topology, dims_of, features, plain_unet
from medseg.errors import PlanError
from medseg.specs import (
    AttentionUNetSpec,
    LiteSpec,
    MedNeXtSpec,
    MedTSpec,
    NetworkSpec,
    ResEncUNetSpec,
    SwinUNETRSpec,
    TransUNetSpec,
    UNet3DSpec,
    UNETRSpec,
    UNetSpec,
)
from medseg.specs.transformers import MedTKind

RESIDUAL_BLOCKS = (1, 3, 4, 6)
"""Blocks of the first encoder stages of nnU-Net's residual encoder; all further ones have 6."""


LITE_WIDTH = 32
"""Width of the first stage that `lite` computes on, whatever the time: it is meant to be fast."""

LITE_GROWTH = 4
"""Widths of `lite` double up to four times the first; logits are made from a quarter of it, or more
where there are more classes."""


class Scaled(Protocol):
    """Makes a network of one kind, of a width (`FULL_WIDTH` is the paper's), for a shape."""

    def __call__(
        self, shape: Topology, *, base: int, in_channels: int, classes: int
    ) -> NetworkSpec:
        """The network; it takes the patch of the shape, grown to what it can take."""
        ...


def resenc_unet(shape: Topology, *, base: int, in_channels: int, classes: int) -> ResEncUNetSpec:
    """nnU-Net's residual encoder: its kernels, strides and widths are those of the plain U-Net."""
    stages, dims = len(shape.strides), dims_of(shape)
    blocks = RESIDUAL_BLOCKS + RESIDUAL_BLOCKS[-1:] * stages
    return ResEncUNetSpec(
        dims=dims,
        in_channels=in_channels,
        classes=classes,
        features=features(base, stages, dims),
        kernels=shape.kernels,
        strides=shape.strides,
        encoder_blocks=blocks[:stages],
        decoder_convs=(1,) * (stages - 1),
    )


def lite(shape: Topology, *, base: int, in_channels: int, classes: int) -> LiteSpec:
    """Our network for real time: of its full width where nnU-Net's would be at least half its own.

    Its first stage has one convolution, all others two.
    """
    first = min(LITE_WIDTH, 2 * base * LITE_WIDTH // FULL_WIDTH)
    last = min(first, max(first // LITE_GROWTH, 8 * -(-classes // 8)))
    widths = tuple(min(first * 2**n, LITE_GROWTH * first) for n in range(len(shape.strides) - 1))
    return LiteSpec(
        dims=dims_of(shape),
        in_channels=in_channels,
        classes=classes,
        features=(last, *widths),
        kernels=shape.kernels[1:],
        strides=shape.strides,
        encoder_convs=(1, *(2,) * (len(widths) - 1)),
    )


def _staged(
    kind: type[UNetSpec | UNet3DSpec | AttentionUNetSpec],
    shape: Topology,
    *,
    base: int,
    in_channels: int,
    classes: int,
) -> NetworkSpec:
    """A U-Net of at most as many stages as the paper's, whose widths double as there."""
    paper = kind.paper().features
    strides = shape.strides[: len(paper)]
    widths = (max(2, width * base // FULL_WIDTH) for width in paper)
    return kind(
        dims=dims_of(shape),
        in_channels=in_channels,
        classes=classes,
        features=tuple(width for width, _ in zip(widths, strides, strict=False)),
        strides=strides,
    )


def _shared(
    scaled: Callable[..., NetworkSpec],
    shape: Topology,
    *,
    base: int,
    in_channels: int,
    classes: int,
) -> NetworkSpec:
    """A network whose own `scaled` takes a share of the paper's width."""
    return scaled(
        dims=dims_of(shape),
        grid=shape.patch_size,
        in_channels=in_channels,
        classes=classes,
        width_share=base / FULL_WIDTH,
    )


def _medt(kind: MedTKind) -> Any:
    return partial(_shared, partial(MedTSpec.scaled, kind=kind))


SCALED: dict[str, Scaled] = {
    "plain_unet": plain_unet,
    "unet": partial(_staged, UNetSpec),
    "unet3d": partial(_staged, UNet3DSpec),
    "attention_unet": partial(_staged, AttentionUNetSpec),
    "resenc_unet": resenc_unet,
    "transunet": partial(_shared, TransUNetSpec.scaled),
    "unetr": partial(_shared, UNETRSpec.scaled),
    "swin_unetr": partial(_shared, SwinUNETRSpec.scaled),
    "medt": _medt("medt"),
    "medt_gated": _medt("medt_gated"),
    "medt_axial": _medt("medt_axial"),
    "medt_logo": _medt("medt_logo"),
    "mednext": partial(_shared, MedNeXtSpec.scaled),
    "lite": lite,
}
"""How each kind of network is scaled, by name."""


def scaled_by(arch: str) -> Scaled:
    """How networks of a kind are scaled.

    Raises:
        PlanError: If there is no kind of this name.
    """
    if arch not in SCALED:
        raise PlanError(
            f"Networks are {', '.join(SCALED)}.",
            received=repr(arch),
            cure="Choose one with --arch.",
        )
    return SCALED[arch]
