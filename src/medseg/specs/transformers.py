"""Settings of networks with attention: TransUNet, UNETR, Swin UNETR and the MedT family.

Each class has `paper()`, the setting whose number of parameters is known, and `scaled()`, a small
valid one for patches of a given grid. What `scaled` gives takes patches of
`fitting_grid(grid, spec.divisor)`, and where a network has a fixed grid that is `spec.grid`.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from medseg.specs.settings import Dims, NetworkSettings, fitting_grid, scaled_width

MedTKind = Literal["medt", "medt_gated", "medt_axial", "medt_logo"]
"""The paper's network and its three ablations."""


class TransUNetSpec(NetworkSettings):
    """TransUNet: a ResNet-50 whose deepest features a ViT reads (Chen et al., arXiv 2102.04306).

    The paper's form is 2D. The 3D form is ours: the same layers with one more axis.

    Attributes:
        grid: Image size whose position embeddings are learned; they are interpolated for others.
        stem_width: Channels after the first convolution; an even number.
        units: Residual units in each of the three stages of the ResNet.
        token_width: Channels of a token.
        mlp_width: Channels inside the transformer's perceptrons.
        heads: Attention heads.
        layers: Transformer layers.
        dropout: Share of values dropped in training, in the tokens and the perceptrons.
        bridge_width: Channels between the transformer and the decoder.
        decoder_widths: Channels of the four decoder stages, coarsest first.
    """

    kind: Literal["transunet"] = "transunet"
    grid: tuple[int, ...]
    stem_width: int = Field(default=64, ge=2, multiple_of=2)
    units: tuple[int, int, int] = (3, 4, 9)
    token_width: int = Field(default=768, ge=1)
    mlp_width: int = Field(default=3072, ge=1)
    heads: int = Field(default=12, ge=1)
    layers: int = Field(default=12, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    bridge_width: int = Field(default=512, ge=1)
    decoder_widths: tuple[int, int, int, int] = (256, 128, 64, 16)

    @model_validator(mode="after")
    def _check(self) -> "TransUNetSpec":
        _require_grid(self.grid, self.divisor)
        if self.token_width % self.heads:
            raise ValueError("token_width is a multiple of heads")
        return self

    @property
    def divisor(self) -> tuple[int, ...]:
        """16: the ResNet halves four times."""
        return (16,) * self.dims

    @property
    def token_grid(self) -> tuple[int, ...]:
        """Tokens along each axis at `grid`."""
        return tuple(n // 16 for n in self.grid)

    @classmethod
    def paper(cls) -> Self:
        """R50 + ViT-B/16 on Synapse: 224 x 224, nine classes; grey images are repeated thrice."""
        return cls(dims=2, in_channels=3, classes=9, grid=(224, 224))

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
        """A network for patches of this grid, `width_share` times as wide as the paper's."""
        heads = max(1, round(12 * width_share))
        return cls(
            dims=dims,
            in_channels=in_channels,
            classes=classes,
            grid=fitting_grid(grid, (16,) * dims),
            stem_width=scaled_width(64, width_share, 4),
            token_width=64 * heads,
            mlp_width=256 * heads,
            heads=heads,
            layers=max(2, round(12 * min(1.0, 2 * width_share))),
            bridge_width=scaled_width(512, width_share, 8),
            decoder_widths=tuple(scaled_width(w, width_share, 4) for w in (256, 128, 64, 16)),
        )


class UNETRSpec(NetworkSettings):
    """UNETR: a ViT as the encoder of a U-Net (Hatamizadeh et al., WACV 2022).

    The paper's form is 3D; the 2D form is MONAI's. Its position embeddings belong to `grid`, and
    images have exactly that size.

    Attributes:
        grid: Image size.
        features: Channels at full resolution; each coarser stage doubles them.
        token_width: Channels of a token.
        mlp_width: Channels inside the transformer's perceptrons.
        heads: Attention heads in each of the twelve layers.
        dropout: Share of values dropped in training inside the transformer.
        unused_parameters: Whether to hold the normalisations that MONAI's class never uses.
    """

    kind: Literal["unetr"] = "unetr"
    grid: tuple[int, ...]
    features: int = Field(default=16, ge=1)
    token_width: int = Field(default=768, ge=1)
    mlp_width: int = Field(default=3072, ge=1)
    heads: int = Field(default=12, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    unused_parameters: bool = False

    @model_validator(mode="after")
    def _check(self) -> "UNETRSpec":
        _require_grid(self.grid, self.divisor)
        if self.token_width % self.heads:
            raise ValueError("token_width is a multiple of heads")
        return self

    @property
    def divisor(self) -> tuple[int, ...]:
        """16: a token is 16 voxels wide."""
        return (16,) * self.dims

    @property
    def fixed_grid(self) -> tuple[int, ...]:
        """The grid whose positions were learned."""
        return self.grid

    @classmethod
    def paper(cls) -> Self:
        """ViT-B/16 on BTCV: 96^3 voxels, 14 classes; all that MONAI's class holds is counted."""
        return cls(dims=3, in_channels=1, classes=14, grid=(96, 96, 96), unused_parameters=True)

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
        """A network for patches of this grid, `width_share` times as wide as the paper's."""
        heads = max(1, round(12 * width_share))
        return cls(
            dims=dims,
            in_channels=in_channels,
            classes=classes,
            grid=fitting_grid(grid, (16,) * dims),
            features=scaled_width(16, width_share, 4),
            token_width=64 * heads,
            mlp_width=256 * heads,
            heads=heads,
        )


class SwinUNETRSpec(NetworkSettings):
    """Swin UNETR: attention in shifted windows as the encoder of a U-Net.

    The paper's form is 3D; the 2D form is MONAI's. Sources: Hatamizadeh et al., BrainLes 2021;
    version 2: He et al., MICCAI 2023.

    Attributes:
        features: Channels of the first stage, a multiple of 12; each coarser stage doubles them.
        depths: Transformer blocks in each of the four stages, an even number of them.
        heads: Attention heads in each stage.
        window: Edge of a window, in tokens.
        version: 2 begins each stage with a residual block of convolutions.
    """

    kind: Literal["swin_unetr"] = "swin_unetr"
    features: int = Field(default=48, ge=12, multiple_of=12)
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = Field(default=7, ge=2)
    version: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _check(self) -> "SwinUNETRSpec":
        if any(self.features * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise ValueError("the channels of each stage are a multiple of its heads")
        return self

    @property
    def divisor(self) -> tuple[int, ...]:
        """32: tokens of two voxels, halved four times."""
        return (32,) * self.dims

    @classmethod
    def paper(cls, version: Literal[1, 2] = 1) -> Self:
        """96^3 voxels, feature size 48, 14 classes."""
        return cls(dims=3, in_channels=1, classes=14, version=version)

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
        """A network `width_share` times as wide as the paper's; it takes any fitting grid."""
        return cls(
            dims=dims,
            in_channels=in_channels,
            classes=classes,
            features=scaled_width(48, width_share, 12),
        )


class MedTSpec(NetworkSettings):
    """Gated axial attention, and local beside global attention (Valanarasu et al., MICCAI 2021).

    `medt` is the paper's network: a shallow gated global branch and a deep local branch without
    position terms. Its ablations: `medt_gated` and `medt_axial` are one deep branch with and
    without gates, `medt_logo` has both branches without gates. The paper's form is 2D. The 3D form
    is ours: attention runs along the third axis too.

    Attributes:
        grid: Image size; position terms belong to it, and images have exactly that size.
        width: Channels after the stem, a multiple of `heads`.
        stem_width: Channels inside the stem.
        heads: Attention heads.
        blocks: Blocks in each of the four stages; the shallow global branch has the first two.
        local_parts: Parts along each axis that the local branch sees one by one.
        gates_frozen_share: Share of the training before which gates keep their first values.
        unused_parameters: Whether to hold the parameters that the published code never uses.
    """

    kind: MedTKind = "medt"
    grid: tuple[int, ...]
    width: int = Field(default=8, ge=1)
    stem_width: int = Field(default=128, ge=1)
    heads: int = Field(default=8, ge=1)
    blocks: tuple[int, int, int, int] = (1, 2, 4, 1)
    local_parts: int = Field(default=4, ge=1)
    gates_frozen_share: float = Field(default=0.025, ge=0, le=1)
    unused_parameters: bool = False

    @model_validator(mode="after")
    def _check(self) -> "MedTSpec":
        _require_grid(self.grid, self.divisor)
        if self.width % self.heads:
            raise ValueError("width is a multiple of heads")
        return self

    @property
    def is_gated(self) -> bool:
        """Whether gates weigh the position terms."""
        return self.kind in ("medt", "medt_gated")

    @property
    def has_local_branch(self) -> bool:
        """Whether parts of the image are looked at one by one too."""
        return self.kind in ("medt", "medt_logo")

    @property
    def divisor(self) -> tuple[int, ...]:
        """16, times the parts along an axis where there is a local branch."""
        return (16 * (self.local_parts if self.has_local_branch else 1),) * self.dims

    @property
    def fixed_grid(self) -> tuple[int, ...]:
        """The grid whose positions were learned."""
        return self.grid

    @classmethod
    def paper(cls, kind: MedTKind = "medt") -> Self:
        """128 x 128, three channels, two classes; gates wait for 10 of 400 epochs.

        The parameters that the published code never uses are there, so that its weights fit: a
        first convolution in each block of MedT's local branch, and a second head of both networks
        that have that branch.
        """
        return cls(
            kind=kind,
            dims=2,
            in_channels=3,
            classes=2,
            grid=(128, 128),
            unused_parameters=kind in ("medt", "medt_logo"),
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
        kind: MedTKind = "medt",
    ) -> Self:
        """A network for patches of this grid, `width_share` times as wide as the paper's.

        The local branch sees quarters of each axis as in the paper; halves where the smallest axis
        has fewer than 64 voxels.
        """
        heads = scaled_width(8, min(1.0, width_share), 4)
        parts = 4 if min(grid) >= 64 else 2
        divisor = 16 * (parts if kind in ("medt", "medt_logo") else 1)
        return cls(
            kind=kind,
            dims=dims,
            in_channels=in_channels,
            classes=classes,
            grid=fitting_grid(grid, (divisor,) * dims),
            width=scaled_width(8, width_share, heads),
            stem_width=scaled_width(128, width_share, 8),
            heads=heads,
            local_parts=parts,
        )


def _require_grid(grid: tuple[int, ...], divisor: tuple[int, ...]) -> None:
    if len(grid) != len(divisor) or any(n < 1 for n in grid):
        raise ValueError("grid has a positive number for each spatial axis")
    if tuple(grid) != fitting_grid(grid, divisor):
        raise ValueError(f"grid is a multiple of {divisor}, at least one axis twice it")
