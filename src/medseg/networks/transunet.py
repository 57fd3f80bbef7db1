"""TransUNet: a ResNet, a transformer over its deepest features, and a decoder with its skips."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import LAYERS, convolve, resized
from medseg.networks.network import Network
from medseg.networks.resnet_v2 import ResNetV2
from medseg.networks.sizes import require_multiples
from medseg.networks.vit import VisionTransformer
from medseg.specs.transformers import TransUNetSpec
from medseg.tensors import Features, Image, Logits


class TransUNet(Network):
    """The hybrid network R50-ViT with a cascaded upsampler.

    The paper's head is a 3x3 convolution. Here the three planes that it reads along the first axis
    are laid behind each other as channels among the features, so that any slab of them gives its
    logits exactly.

    Args:
        spec: Widths, depths and the grid whose positions are learned.

    Source:
        Chen et al., TransUNet, arXiv 2102.04306, 2021.
    """

    def __init__(self, spec: TransUNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.resnet = ResNetV2(
            in_channels=spec.in_channels, width=spec.stem_width, units=spec.units, dims=spec.dims
        )
        self.transformer = VisionTransformer(
            in_channels=16 * spec.stem_width,
            token_grid=spec.token_grid,
            width=spec.token_width,
            mlp_width=spec.mlp_width,
            heads=spec.heads,
            layers=spec.layers,
            dropout=spec.dropout,
        )
        self.bridge = _conv_norm_act(spec.token_width, spec.bridge_width, spec.dims)
        self.decoder = nn.ModuleList()
        before, skips = spec.bridge_width, (8 * spec.stem_width, 4 * spec.stem_width)
        skip_widths = (*skips, spec.stem_width, 0)
        for width, skip in zip(spec.decoder_widths, skip_widths, strict=True):
            first = _conv_norm_act(before + skip, width, spec.dims)
            self.decoder.append(nn.Sequential(first, _conv_norm_act(width, width, spec.dims)))
            before = width
        self.segmentation = PlaneWiseConv(before, spec.classes, spec.dims)

    @property
    def head(self) -> nn.Module:
        """The 3x3 convolution; it takes slabs of whole planes along the first axis."""
        return self.segmentation

    def features(self, image: Image) -> Features:
        """The last decoder stage, each plane with its two neighbours; see `forward`."""
        if not torch.compiler.is_compiling():
            require_multiples(image, self.spec)
        deepest, skips = self.resnet(image)
        features = self.bridge(self.transformer(deepest))
        for stage in self.decoder:
            features = resized(features, [2 * n for n in features.shape[2:]], align_corners=True)
            if skips:
                features = torch.cat((features, skips.pop(0)), dim=1)
            features = stage(features)
        return with_neighbour_planes(features)

    def forward(self, image: Image) -> Logits:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities; each axis a multiple of 16, not only of the grid that
                positions were learned on.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        logits: Logits = self.head(self.features(image))
        return logits


class PlaneWiseConv(nn.Module):
    """A convolution of edge 3 that can be applied to any slab of planes along the first axis.

    Args:
        in_channels: Channels of one plane.
        out_channels: Channels that go out.
        dims: Spatial axes.
    """

    def __init__(self, in_channels: int, out_channels: int, dims: int) -> None:
        super().__init__()
        plain = LAYERS[dims].conv(in_channels, out_channels, 3)
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, planes: Float[Tensor, "B W *slab"]) -> Float[Tensor, "B N *slab"]:
        """Channels as `with_neighbour_planes` lays them; the slab keeps its size."""
        weight = self.weight.transpose(1, 2).flatten(1, 2).unsqueeze(2)
        padding = (0, *(1,) * (weight.ndim - 3))
        return convolve(planes, weight, self.bias, padding=padding)


def with_neighbour_planes(image: Float[Tensor, "B W *grid"]) -> Float[Tensor, "B V *grid"]:
    """The plane before, the plane itself and the plane after, as channels; zeros outside."""
    planes = image.shape[2]
    padded = F.pad(image, (*(0, 0) * (image.ndim - 3), 1, 1))
    return torch.cat([padded.narrow(2, shift, planes) for shift in range(3)], dim=1)


def _conv_norm_act(in_channels: int, out_channels: int, dims: int) -> nn.Sequential:
    """A 3x3 convolution without bias, batch normalisation, ReLU."""
    layers = LAYERS[dims]
    return nn.Sequential(
        layers.conv(in_channels, out_channels, 3, padding=1, bias=False),
        layers.batch_norm(out_channels),
        nn.ReLU(inplace=True),
    )
