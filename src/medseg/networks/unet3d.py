"""The 3D U-Net of 2016: batch normalisation, and channels that are doubled before each pool."""

from itertools import pairwise

from torch import nn

from medseg.networks.layers import LAYERS
from medseg.networks.pooled import PooledUNet, up_convolution_of
from medseg.specs import UNet3DSpec


class UNet3D(PooledUNet):
    """A U-Net without bottlenecks: no pool throws away what a wider stage could have kept.

    Up-convolutions keep their channels, so a decoder stage begins with three times its width.

    Args:
        spec: Widths, strides and padding.

    Source:
        Çiçek et al., 3D U-Net, MICCAI 2016; widths: Szegedy et al., CVPR 2016.
    """

    def __init__(self, spec: UNet3DSpec) -> None:
        widths = spec.features
        encoder = nn.ModuleList(
            _double(before, width // 2, width, spec)
            for before, width in pairwise((spec.in_channels, *widths))
        )
        ups, decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(len(widths) - 2, -1, -1):
            width, coarse = widths[level], widths[level + 1]
            ups.append(up_convolution_of(coarse, coarse, spec.strides[level + 1]))
            decoder.append(_double(coarse + width, width, width, spec))
        head = LAYERS[spec.dims].conv(widths[0], spec.classes, 1)
        super().__init__(spec, encoder=encoder, ups=ups, decoder=decoder, head=head)


def _double(in_channels: int, middle: int, width: int, spec: UNet3DSpec) -> nn.Sequential:
    """Two convolutions, each with batch normalisation and a ReLU behind it."""
    layers, padding = LAYERS[spec.dims], 1 if spec.keeps_grid else 0
    stage = nn.Sequential()
    for before, after in ((in_channels, middle), (middle, width)):
        stage.append(layers.conv(before, after, 3, padding=padding))
        stage.append(layers.batch_norm(after))
        stage.append(nn.ReLU(inplace=True))
    return stage
