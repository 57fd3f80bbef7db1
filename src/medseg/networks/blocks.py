"""Convolution blocks for two and three dimensions."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import LAYERS

NEGATIVE_SLOPE = 0.01
"""Slope of every LeakyReLU, and of the initialisation that belongs to it."""


def convolution(
    in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
) -> nn.Module:
    """A biased convolution, padded so that stride 1 keeps the grid; kernels are odd."""
    padding = tuple(k // 2 for k in kernel)
    layer = LAYERS[len(kernel)].conv
    out: nn.Module = layer(in_channels, out_channels, tuple(kernel), tuple(stride), padding)
    return out


def up_convolution(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    """A biased transposed convolution whose kernel is its stride: no voxel is written twice."""
    layer = LAYERS[len(stride)].up_conv
    out: nn.Module = layer(in_channels, out_channels, tuple(stride), tuple(stride))
    return out


class ConvNormAct(nn.Module):
    """Convolution, instance normalisation with learned scale and shift, LeakyReLU.

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
        self.conv = convolution(in_channels, out_channels, kernel, stride)
        self.norm = LAYERS[len(kernel)].instance_norm(out_channels, eps=1e-5, affine=True)
        self.act = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, image: Float[Tensor, "B _ *grid"]) -> Float[Tensor, "B _ *coarse"]:
        """Channels in, channels out, on a grid divided by the stride."""
        out: Tensor = self.act(self.norm(self.conv(image)))
        return out


def stacked(
    in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int], count: int
) -> nn.Sequential:
    """`count` blocks in a row; the first one takes the stride."""
    ones = (1,) * len(kernel)
    first = ConvNormAct(in_channels, out_channels, kernel, stride)
    rest = (ConvNormAct(out_channels, out_channels, kernel, ones) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def initialise(module: nn.Module, *, slope: float = NEGATIVE_SLOPE) -> None:
    """Kaiming-normal weights and zero biases, for each convolution inside.

    Args:
        module: All of its convolutions.
        slope: Of the LeakyReLU behind them; 0 is ReLU.

    Source:
        He et al., ICCV 2015; as in nnU-Net (Isensee et al., Nature Methods 18, 2021).
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(part.weight, a=slope)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
