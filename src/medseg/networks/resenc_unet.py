"""nnU-Net with a residual encoder: many residual blocks on the way down, one convolution up."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.blocks import NEGATIVE_SLOPE, ConvNormAct, convolution
from medseg.networks.layers import LAYERS
from medseg.networks.plain_unet import SupervisedUNet
from medseg.specs import ResEncUNetSpec


class ResEncUNet(SupervisedUNet):
    """A stem and stages of residual blocks under nnU-Net's decoder.

    Each block begins as what passes it by: the scale behind its second convolution starts at 0.

    Args:
        spec: Widths, kernels, strides and blocks.

    Source:
        Isensee et al., nnU-Net Revisited, MICCAI 2024.
    """

    def __init__(self, spec: ResEncUNetSpec) -> None:
        super().__init__(spec, _encoder(spec))
        for part in self.modules():
            if isinstance(part, ResidualBlock):
                nn.init.zeros_(part.norm.weight)
                nn.init.zeros_(part.norm.bias)


class ResidualBlock(nn.Module):
    """Two convolutions added to what came in, then rectified.

    The stride is on the first convolution; what passes by is averaged over as many voxels, and
    projected without bias where the width changes.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel: One odd number for each spatial axis.
        stride: One number for each spatial axis.

    Source:
        ResNet-D: He et al., CVPR 2019.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        dims, steps = len(kernel), tuple(stride)
        layers = LAYERS[dims]
        self.first = ConvNormAct(in_channels, out_channels, kernel, steps)
        self.second = convolution(out_channels, out_channels, kernel, (1,) * dims)
        self.norm = layers.instance_norm(out_channels, eps=1e-5, affine=True)
        self.act = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
        self.shortcut = nn.Sequential()
        if max(steps) > 1:
            self.shortcut.append(layers.average_pool(steps, steps))
        if in_channels != out_channels:
            self.shortcut.append(layers.conv(in_channels, out_channels, 1, bias=False))
            self.shortcut.append(layers.instance_norm(out_channels, eps=1e-5, affine=True))

    def forward(self, image: Float[Tensor, "B _ *grid"]) -> Float[Tensor, "B _ *coarse"]:
        """Channels in, channels out, on a grid divided by the stride."""
        out: Tensor = self.norm(self.second(self.first(image)))
        rectified: Tensor = self.act(out + self.shortcut(image))
        return rectified


def _encoder(spec: ResEncUNetSpec) -> nn.ModuleList:
    """Stages of residual blocks; the stem is part of the first."""
    ones, stages = (1,) * spec.dims, nn.ModuleList()
    stem = ConvNormAct(spec.in_channels, spec.features[0], spec.kernels[0], ones)
    before = spec.features[0]
    shapes = zip(spec.features, spec.kernels, spec.strides, spec.encoder_blocks, strict=True)
    for width, kernel, stride, count in shapes:
        first = ResidualBlock(before, width, kernel, stride)
        rest = (ResidualBlock(width, width, kernel, ones) for _ in range(count - 1))
        stages.append(nn.Sequential(*(() if stages else (stem,)), first, *rest))
        before = width
    return stages
