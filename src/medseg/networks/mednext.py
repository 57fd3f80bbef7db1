"""MedNeXt: a U-Net of ConvNeXt blocks, and larger kernels that start as trained smaller ones."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.errors import BundleError
from medseg.networks.layers import LAYERS, resized
from medseg.networks.network import Network
from medseg.networks.sizes import require_multiples
from medseg.specs.mednext import MedNeXtSpec
from medseg.tensors import Features, Image, Logits, Scales


class MedNeXt(Network):
    """Blocks of depthwise, widening and narrowing convolutions, also between the stages.

    One class serves the sizes S, B, M and L. (MONAI's class widens the blocks between stages
    otherwise, which is the paper's network for S only.)

    Args:
        spec: Widths, strides, blocks and kernel.

    Source:
        Roy et al., MedNeXt, MICCAI 2023.
    """

    def __init__(self, spec: MedNeXtSpec) -> None:
        super().__init__()
        self.spec = spec
        levels = len(spec.strides)
        widths = [spec.width * 2**level for level in range(levels + 1)]
        self.stem = LAYERS[spec.dims].conv(spec.in_channels, widths[0], 1)
        stages = [
            _stage(spec, width, index) for index, width in enumerate((*widths, *widths[-2::-1]))
        ]
        self.encoder = nn.ModuleList(stages[:levels])
        self.bottleneck = stages[levels]
        self.decoder = nn.ModuleList(stages[levels + 1 :])
        self.downs = nn.ModuleList(
            DownBlock(fine, coarse, spec.expansions[level + 1], spec.kernel, spec.strides[level])
            for level, (fine, coarse) in enumerate(pairwise(widths))
        )
        self.ups = nn.ModuleList(
            UpBlock(coarse, fine, expansion, spec.kernel, stride)
            for (coarse, fine), expansion, stride in zip(
                pairwise(widths[::-1]),
                spec.expansions[levels + 1 :],
                spec.strides[::-1],
                strict=True,
            )
        )
        supervised = widths if spec.deep_supervision else widths[:1]
        self.heads = nn.ModuleList(
            LAYERS[spec.dims].conv(width, spec.classes, 1) for width in supervised
        )
        if spec.unused_parameters:
            self.unused = nn.Parameter(torch.ones(1))

    @property
    def head(self) -> nn.Module:
        """The finest head, a 1x1 convolution."""
        return self.heads[0]

    def features(self, image: Image) -> Features:
        """Features of the finest decoder stage; see `forward`."""
        return self._decoded(image)[0]

    def forward(self, image: Image) -> Logits | Scales:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities; each axis a multiple of the spec's `divisor`.

        Returns:
            In training with deep supervision: logits of every stage, finest first, bottleneck
            last. Otherwise the finest only.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        if not (self.training and self.spec.deep_supervision):
            logits: Logits = self.head(self.features(image))
            return logits
        decoded = self._decoded(image)
        return tuple(head(features) for head, features in zip(self.heads, decoded, strict=True))

    def _decoded(self, image: Tensor) -> list[Tensor]:
        """Features of the bottleneck and each decoder stage, finest first."""
        if not torch.compiler.is_compiling():
            require_multiples(image, self.spec)
        features, skips = self.stem(image), []
        for stage, down in zip(self.encoder, self.downs, strict=True):
            skips.append(stage(features))
            features = down(skips[-1])
        decoded = [self.bottleneck(features)]
        for up, stage in zip(self.ups, self.decoder, strict=True):
            decoded.append(stage(up(decoded[-1]) + skips.pop()))
        return decoded[::-1]


class MedNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation of each channel, widen, GELU, narrow; then added.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        expansion: How many times wider it is inside.
        depthwise: The first convolution.
        shortcut: From what came in to what it is added to.
        dims: Spatial axes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        *,
        depthwise: nn.Module,
        shortcut: nn.Module,
        dims: int,
    ) -> None:
        super().__init__()
        conv, inside = LAYERS[dims].conv, expansion * in_channels
        self.depthwise, self.shortcut = depthwise, shortcut
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.widen, self.narrow = conv(in_channels, inside, 1), conv(inside, out_channels, 1)

    def forward(self, image: Float[Tensor, "B _ *grid"]) -> Float[Tensor, "B _ *other"]:
        """Channels in, channels out."""
        inside = F.gelu(self.widen(self.norm(self.depthwise(image))))
        out: Tensor = self.narrow(inside) + self.shortcut(image)
        return out


class DownBlock(MedNeXtBlock):
    """A block whose depthwise convolution and shortcut take the stride.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        expansion: How many times wider it is inside.
        kernel: Edge of the depthwise convolution.
        stride: 1 or 2 for each axis.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        kernel: int,
        stride: Sequence[int],
    ) -> None:
        dims = len(stride)
        conv, steps = LAYERS[dims].conv, tuple(stride)
        super().__init__(
            in_channels,
            out_channels,
            expansion,
            depthwise=conv(
                in_channels, in_channels, kernel, steps, kernel // 2, groups=in_channels
            ),
            shortcut=conv(in_channels, out_channels, 1, steps),
            dims=dims,
        )


class UpBlock(MedNeXtBlock):
    """A block whose transposed depthwise convolution and shortcut double the grid.

    A transposed convolution of stride 2 gives one voxel less than twice as many; a zero is put
    before the first voxel of each such axis.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        expansion: How many times wider it is inside.
        kernel: Edge of the depthwise convolution.
        stride: 1 or 2 for each axis.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        kernel: int,
        stride: Sequence[int],
    ) -> None:
        dims = len(stride)
        up, steps = LAYERS[dims].up_conv, tuple(stride)
        super().__init__(
            in_channels,
            out_channels,
            expansion,
            depthwise=up(in_channels, in_channels, kernel, steps, kernel // 2, groups=in_channels),
            shortcut=up(in_channels, out_channels, 1, steps),
            dims=dims,
        )
        self.pads = [pad for step in reversed(steps) for pad in (step - 1, 0)]

    def forward(self, image: Float[Tensor, "B _ *grid"]) -> Float[Tensor, "B _ *other"]:
        """Channels in, channels out, on a grid multiplied by the stride."""
        out: Tensor = super().forward(image)
        return F.pad(out, self.pads)


def upkern(network: MedNeXt, small: Mapping[str, Tensor]) -> None:
    """Start a network with large kernels from one that was trained with smaller ones.

    Depthwise kernels are interpolated linearly to the larger edge; everything else is taken as it
    is.

    Args:
        network: Its weights are replaced.
        small: State of a network that differs from `network` in nothing but the kernel.

    Raises:
        BundleError: If the two differ in more than the kernel.

    Source:
        Roy et al., MedNeXt, MICCAI 2023, section 2.3 (UpKern).
    """
    state = network.state_dict()
    faults = [name for name in state if name not in small or not can_grow(small[name], state[name])]
    faults += [name for name in small if name not in state]
    if faults:
        raise BundleError(
            "UpKern takes weights of a network that differs in nothing but the kernel.",
            received=f"{len(faults)} tensors that do not fit, the first of them {faults[0]!r}",
            cure="Train the smaller kernel with the same widths, blocks, channels and classes.",
        )
    network.load_state_dict({name: _grown(small[name], state[name]) for name in state})


def can_grow(small: Tensor, large: Tensor) -> bool:
    """Whether a tensor fits as it is, or is a depthwise kernel with a smaller edge."""
    if small.shape == large.shape:
        return True
    is_depthwise = small.ndim == large.ndim >= 4 and small.shape[:2] == large.shape[:2]
    smaller = all(a <= b for a, b in zip(small.shape, large.shape, strict=False))
    return is_depthwise and small.shape[1] == 1 and smaller


def _grown(small: Tensor, large: Tensor) -> Tensor:
    if small.shape == large.shape:
        return small
    return resized(small, large.shape[2:], align_corners=False)


def _stage(spec: MedNeXtSpec, width: int, index: int) -> nn.Sequential:
    """The blocks of one stage, on one grid."""
    conv, kernel = LAYERS[spec.dims].conv, spec.kernel
    return nn.Sequential(
        *(
            MedNeXtBlock(
                width,
                width,
                spec.expansions[index],
                depthwise=conv(width, width, kernel, 1, kernel // 2, groups=width),
                shortcut=nn.Identity(),
                dims=spec.dims,
            )
            for _ in range(spec.blocks[index])
        )
    )
