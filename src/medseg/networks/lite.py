"""`lite`: a U-Net for real time, without a convolution on the grid of the image."""

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from medseg.networks.blocks import initialise
from medseg.networks.layers import LAYERS
from medseg.networks.sizes import require_multiples
from medseg.networks.supervised import SupervisedNetwork
from medseg.specs import LiteSpec
from medseg.tensors import Image


class Lite(SupervisedNetwork):
    """Encoder, and a decoder of one convolution a stage that adds what comes up to the skip.

    The first convolution takes the first step, so that on the grid of the image, where a U-Net
    spends most of its time, only the last transposed convolution and the head work. Convolutions
    learn with batch normalisation and ReLU. The `deployed` network has the normalisation folded
    into the weights: convolutions, transposed convolutions, additions and ReLU are all there is.
    Weights are kept in the form that learns.

    Nothing follows the last transposed convolution: each of its kernel's places makes voxels of its
    own, and a ReLU that dies at one place would leave holes at that place in every cell.

    Args:
        spec: Widths, kernels and strides.

    Source:
        Ours. bench/lite.py compares it with depthwise-separable convolutions and with branches
        that are added up for prediction (Ding et al., RepVGG, CVPR 2021).
    """

    def __init__(self, spec: LiteSpec) -> None:
        super().__init__()
        self.spec = spec
        layers, ones = LAYERS[spec.dims], (1,) * spec.dims
        self.encoder = nn.ModuleList(_encoder(spec))
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(len(spec.features) - 2, -1, -1):
            width, step = spec.features[level], spec.strides[level + 1]
            self.ups.append(layers.up_conv(spec.features[level + 1], width, step, step))
            if level > 0:
                self.decoder.append(ConvNormReLU(width, width, spec.kernels[level - 1], ones))
        self.supervised = spec.deep_supervision
        coarsest = len(spec.features) - 1 if spec.deep_supervision else 1
        self.heads = nn.ModuleList(
            layers.conv(width, spec.classes, 1) for width in spec.features[:coarsest]
        )
        initialise(self, slope=0.0)

    def deployed(self) -> "Lite":
        """A copy in eval mode without normalisation and coarser heads; its logits are the same."""
        deployed = copy.deepcopy(self).eval()
        for block in deployed.modules():
            if isinstance(block, ConvNormReLU):
                block.fold()
        deployed.heads = deployed.heads[:1]
        if self.spec.dims == 2:
            deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return deployed

    def decoded(self, image: Image) -> Iterator[Tensor]:
        """Features of each decoder stage; the last are those of the last transposed convolution."""
        if not torch.compiler.is_compiling():
            require_multiples(image, self.spec)
        skips: list[Tensor] = []
        for stage in self.encoder:
            skips.append(stage(skips[-1] if skips else image))
        features = skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=False):
            features = stage(up(features) + skips.pop())
            yield features
        yield self.ups[-1](features)


class ConvNormReLU(nn.Module):
    """A convolution without bias, batch normalisation and ReLU.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel: One odd number for each spatial axis.
        stride: One number for each spatial axis.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        layers, padding = LAYERS[len(kernel)], tuple(edge // 2 for edge in kernel)
        self.conv = layers.conv(
            in_channels, out_channels, tuple(kernel), tuple(stride), padding, bias=False
        )
        self.norm = layers.batch_norm(out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Channels in, channels out, on a grid divided by the stride."""
        return F.relu(self.norm(self.conv(image)), inplace=True)

    def fold(self) -> None:
        """Let the convolution do what the normalisation does in eval mode, which then goes."""
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


def _encoder(spec: LiteSpec) -> Iterator[nn.Sequential]:
    ones, before = (1,) * spec.dims, spec.in_channels
    stages = zip(spec.features[1:], spec.kernels, spec.strides[1:], spec.encoder_convs, strict=True)
    for width, kernel, step, count in stages:
        first = ConvNormReLU(before, width, kernel, step)
        rest = (ConvNormReLU(width, width, kernel, ones) for _ in range(count - 1))
        yield nn.Sequential(first, *rest)
        before = width
