"""The ResNet-50 of hybrid vision transformers: standardised weights and group normalisation."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import convolve

_EPSILON = 1e-5


class StandardisedConv(nn.Module):
    """A convolution without bias whose filters have mean 0 and variance 1 when they are used.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel: Edge of the kernel, odd; the image is padded by half of it.
        stride: Step along every axis.
        dims: Spatial axes.

    Source:
        Qiao et al., arXiv 1903.10520, 2019; as in BiT (Kolesnikov et al., ECCV 2020).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dims: int = 2
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(kernel,) * dims))
        self.stride, self.padding = stride, kernel // 2
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, image: Float[Tensor, "B _ *grid"]) -> Float[Tensor, "B _ *coarse"]:
        """Channels in, channels out, on a grid divided by the stride."""
        axes = tuple(range(1, self.weight.ndim))
        variance, mean = torch.var_mean(self.weight, axes, correction=0, keepdim=True)
        weight = (self.weight - mean) / torch.sqrt(variance + _EPSILON)
        return convolve(image, weight, stride=self.stride, padding=self.padding)


class Bottleneck(nn.Module):
    """1x1 to a quarter, 3x3 with the stride, 1x1 back; added to what came in, then rectified.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out; where they differ or there is a stride, what came in is
            projected and normalised channel by channel.
        stride: Step of the middle convolution.
        groups: Groups of the normalisation.
        dims: Spatial axes.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, groups: int, dims: int
    ) -> None:
        super().__init__()
        middle = out_channels // 4
        self.conv1 = StandardisedConv(in_channels, middle, 1, dims=dims)
        self.norm1 = nn.GroupNorm(groups, middle, eps=1e-6)
        self.conv2 = StandardisedConv(middle, middle, 3, stride=stride, dims=dims)
        self.norm2 = nn.GroupNorm(groups, middle, eps=1e-6)
        self.conv3 = StandardisedConv(middle, out_channels, 1, dims=dims)
        self.norm3 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.projection: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Sequential(
                StandardisedConv(in_channels, out_channels, 1, stride=stride, dims=dims),
                nn.GroupNorm(out_channels, out_channels),
            )

    def forward(self, image: Float[Tensor, "B _ *grid"]) -> Float[Tensor, "B _ *coarse"]:
        """Channels in, channels out, on a grid divided by the stride."""
        out = F.relu(self.norm1(self.conv1(image)))
        out = F.relu(self.norm2(self.conv2(out)))
        return F.relu(self.norm3(self.conv3(out)) + self.projection(image))


class ResNetV2(nn.Module):
    """Stem, pool and three stages: a grid sixteen times coarser, and what it was made from.

    Args:
        in_channels: Channels of the image.
        width: Channels after the stem, an even number; the stages have 4, 8 and 16 times as many.
        units: Units in each stage.
        dims: Spatial axes.

    Source:
        Chen et al., TransUNet, arXiv 2102.04306, 2021, with the ResNet of Dosovitskiy et al.,
        ICLR 2021.
    """

    def __init__(
        self, *, in_channels: int, width: int, units: tuple[int, int, int], dims: int
    ) -> None:
        super().__init__()
        groups = min(32, width // 2)
        self.stem = StandardisedConv(in_channels, width, 7, stride=2, dims=dims)
        self.stem_norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.stages = nn.ModuleList()
        widths = (width, 4 * width, 8 * width, 16 * width)
        for (before, after), count, stride in zip(pairwise(widths), units, (1, 2, 2), strict=True):
            stage = nn.Sequential()
            for unit in range(count):
                first = unit == 0
                block = Bottleneck(
                    before if first else after,
                    after,
                    stride=stride if first else 1,
                    groups=groups,
                    dims=dims,
                )
                stage.append(block)
            self.stages.append(stage)

    def forward(
        self, image: Float[Tensor, "B C *grid"]
    ) -> tuple[Float[Tensor, "B W *coarse"], list[Tensor]]:
        """The deepest features, and skips at 1/8, 1/4 and 1/2 of the grid, coarsest first.

        The pool behind the stem is not padded, so the first stage lies on one voxel less than a
        quarter of the grid (55 of 224); its skip is filled up with zeros at the end of each axis,
        while the next stage reads it as it is.
        """
        grid = image.shape[2:]
        features = F.relu(self.stem_norm(self.stem(image)))
        skips = [features]
        pool = F.max_pool2d if image.ndim == 4 else F.max_pool3d
        features = pool(features, kernel_size=3, stride=2, padding=0)
        for stage, divisor in zip(self.stages[:-1], (4, 8), strict=True):
            features = stage(features)
            skips.append(_filled_up(features, [n // divisor for n in grid]))
        return self.stages[-1](features), skips[::-1]


def _filled_up(features: Tensor, grid: list[int]) -> Tensor:
    """Zeros behind the last voxel of each axis, up to this grid."""
    missing = [n - have for n, have in zip(grid, features.shape[2:], strict=True)]
    pads = [pad for n in reversed(missing) for pad in (0, n)]
    return F.pad(features, pads) if any(missing) else features
