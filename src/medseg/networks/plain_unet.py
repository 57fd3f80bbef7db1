"""nnU-Net's plain U-Net: strided encoder, transposed-convolution decoder, skips at each stage."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from medseg.networks.blocks import convolution, initialise, stacked, up_convolution
from medseg.networks.sizes import require_multiples
from medseg.networks.supervised import SupervisedNetwork
from medseg.specs import PlainUNetSpec, ResEncUNetSpec
from medseg.tensors import Image


class SupervisedUNet(SupervisedNetwork):
    """nnU-Net's decoder over any encoder, with logits at every decoder stage in training.

    Args:
        spec: Widths, kernels and strides.
        encoder: Stages, finest first; each takes what the one before gives.
    """

    def __init__(self, spec: PlainUNetSpec | ResEncUNetSpec, encoder: nn.ModuleList) -> None:
        super().__init__()
        self.spec = spec
        self.divisor = spec.divisor
        self.encoder = encoder
        self.ups, self.decoder = _decoder(spec)
        self.supervised = spec.deep_supervision
        coarsest = len(spec.features) - 1 if spec.deep_supervision else 1
        ones = (1,) * spec.dims
        self.heads = nn.ModuleList(
            convolution(width, spec.classes, ones, ones) for width in spec.features[:coarsest]
        )
        initialise(self)

    def decoded(self, image: Image) -> Iterator[Tensor]:
        """Features of each decoder stage, coarsest first; see `SupervisedNetwork.decoded`."""
        if not torch.compiler.is_compiling():
            require_multiples(image, self.spec)
        skips: list[Tensor] = [image]
        for stage in self.encoder:
            skips.append(stage(skips[-1]))
        features = skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            features = stage(torch.cat((up(features), skips.pop()), dim=1))
            yield features


class PlainUNet(SupervisedUNet):
    """An encoder of plain convolutions under nnU-Net's decoder.

    Args:
        spec: Widths, kernels and strides.

    Source:
        Isensee et al., nnU-Net, Nature Methods 18, 2021; Ronneberger et al., MICCAI 2015.
    """

    def __init__(self, spec: PlainUNetSpec) -> None:
        super().__init__(spec, _encoder(spec))


def _encoder(spec: PlainUNetSpec) -> nn.ModuleList:
    before = (spec.in_channels, *spec.features)
    shapes = zip(
        before, spec.features, spec.kernels, spec.strides, spec.encoder_convs, strict=False
    )
    return nn.ModuleList(stacked(*shape) for shape in shapes)


def _decoder(spec: PlainUNetSpec | ResEncUNetSpec) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Stages in the order they run; each shares the grid of an encoder stage."""
    ups, stages, ones = nn.ModuleList(), nn.ModuleList(), (1,) * spec.dims
    levels = range(len(spec.features) - 2, -1, -1)
    for level, count in zip(levels, spec.decoder_convs, strict=True):
        width = spec.features[level]
        ups.append(up_convolution(spec.features[level + 1], width, spec.strides[level + 1]))
        stages.append(stacked(2 * width, width, spec.kernels[level], ones, count))
    return ups, stages
