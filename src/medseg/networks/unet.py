"""The U-Net of 2015: convolutions and ReLU without normalisation, dropout in the depths."""

from itertools import pairwise

from torch import nn

from medseg.networks.layers import LAYERS
from medseg.networks.pooled import PooledUNet, up_convolution_of
from medseg.specs import UNetSpec


class UNet(PooledUNet):
    """The network that gave the family its name.

    As in the released model, a ReLU follows each up-convolution, and what leaves the two coarsest
    encoder stages is dropped in part while training, also for the skip.

    Args:
        spec: Widths, strides, padding and dropout.

    Source:
        Ronneberger et al., U-Net, MICCAI 2015.
    """

    def __init__(self, spec: UNetSpec) -> None:
        widths, stages = spec.features, len(spec.features)
        encoder = nn.ModuleList()
        for level, (before, width) in enumerate(pairwise((spec.in_channels, *widths))):
            stage = _double(before, width, spec)
            if level >= stages - 2:
                stage.append(nn.Dropout(spec.dropout))
            encoder.append(stage)
        ups, decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(stages - 2, -1, -1):
            width = widths[level]
            up = up_convolution_of(widths[level + 1], width, spec.strides[level + 1])
            ups.append(nn.Sequential(up, nn.ReLU(inplace=True)))
            decoder.append(_double(2 * width, width, spec))
        head = LAYERS[spec.dims].conv(widths[0], spec.classes, 1)
        super().__init__(spec, encoder=encoder, ups=ups, decoder=decoder, head=head)


def _double(in_channels: int, width: int, spec: UNetSpec) -> nn.Sequential:
    """Two convolutions, each with a ReLU behind it."""
    padding = 1 if spec.keeps_grid else 0
    stage = nn.Sequential()
    for before in (in_channels, width):
        stage.append(LAYERS[spec.dims].conv(before, width, 3, padding=padding))
        stage.append(nn.ReLU(inplace=True))
    return stage
