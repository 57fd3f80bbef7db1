"""Torch's layers by the number of spatial axes, where one file describes 2D and 3D networks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Layers(NamedTuple):
    """Layers for one number of spatial axes.

    Attributes:
        conv: Convolution.
        up_conv: Transposed convolution.
        batch_norm: Batch normalisation.
        instance_norm: Instance normalisation.
        average_pool: Means of blocks.
    """

    conv: Any
    up_conv: Any
    batch_norm: Any
    instance_norm: Any
    average_pool: Any


LAYERS = {
    2: Layers(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.AvgPool2d),
    3: Layers(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.InstanceNorm3d, nn.AvgPool3d),
}
"""The layers of 2D and 3D networks."""


def convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: Sequence[int] | int = 0,
) -> Tensor:
    """A convolution with a weight (out, in, *kernel) that has been computed."""
    convolution: Any = F.conv2d if weight.ndim == 4 else F.conv3d
    out: Tensor = convolution(image, weight, bias, stride, padding)
    return out


def resized(image: Tensor, grid: Sequence[int], *, align_corners: bool) -> Tensor:
    """Values between voxels, linear along each spatial axis, on another grid."""
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    return F.interpolate(image, tuple(grid), mode=mode, align_corners=align_corners)
