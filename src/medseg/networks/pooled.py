"""The U-Nets that pool: two convolutions a stage, max-pools down, transposed convolutions up."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import LAYERS
from medseg.networks.network import Network
from medseg.networks.sizes import require_multiples, require_valid
from medseg.specs import UNet3DSpec, UNetSpec
from medseg.tensors import Image

Middle = Float[Tensor, "B _ *middle"]
"""Values of the middle of an image: with valid convolutions the grid is smaller."""


class PooledUNet(Network):
    """Encoder, decoder and head; skips lose the border that valid convolutions have lost.

    Args:
        spec: Strides and padding.
        encoder: Stages, finest first.
        ups: One for each decoder stage, coarsest first.
        decoder: Stages, coarsest first; each takes what came up and the skip behind it.
        head: A 1x1 convolution.
    """

    def __init__(
        self,
        spec: UNetSpec | UNet3DSpec,
        *,
        encoder: nn.ModuleList,
        ups: nn.ModuleList,
        decoder: nn.ModuleList,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.encoder, self.ups, self.decoder = encoder, ups, decoder
        self.segmentation = head
        initialise_by_inputs(self)

    @property
    def head(self) -> nn.Module:
        """The 1x1 convolution."""
        return self.segmentation

    def features(self, image: Image) -> Middle:
        """Features of the finest decoder stage; see `forward`."""
        if not torch.compiler.is_compiling():
            (require_multiples if self.spec.keeps_grid else require_valid)(image, self.spec)
        skips: list[Tensor] = []
        for stage, step in zip(self.encoder, self.spec.strides, strict=True):
            skips.append(stage(pooled(skips[-1], step) if skips else image))
        features = skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            raised = up(features)
            skip = middle_of(skips.pop(), raised.shape[2:])
            features = stage(torch.cat((raised, skip), dim=1))
        return features

    def forward(self, image: Image) -> Middle:
        """Logits on the grid of the image; with valid convolutions those of its middle only.

        Args:
            image: Normalised intensities; each axis a multiple of the spec's `divisor`, or with
                valid convolutions so many more than its `smallest_grid`.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        logits: Tensor = self.head(self.features(image))
        return logits


def pooled(features: Tensor, step: Sequence[int]) -> Tensor:
    """The largest value of each `step` voxels."""
    pool = F.max_pool2d if features.ndim == 4 else F.max_pool3d
    return pool(features, tuple(step), tuple(step))


def middle_of(features: Tensor, grid: Sequence[int]) -> Tensor:
    """The middle of a grid; a border as wide at both sides is left out."""
    for axis, size in enumerate(grid, start=2):
        border = (features.shape[axis] - size) // 2
        features = features.narrow(axis, border, size)
    return features


def up_convolution_of(in_channels: int, out_channels: int, step: Sequence[int]) -> nn.Module:
    """A biased transposed convolution whose kernel is its stride."""
    layer: nn.Module = LAYERS[len(step)].up_conv(
        in_channels, out_channels, tuple(step), tuple(step)
    )
    return layer


def initialise_by_inputs(module: nn.Module) -> None:
    """Normal weights of variance 2 / N for N values that an output is made from; zero biases.

    Source:
        He et al., ICCV 2015; Ronneberger et al., MICCAI 2015, section 3.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            inputs = part.weight[0].numel()
        elif isinstance(part, nn.ConvTranspose2d | nn.ConvTranspose3d):
            inputs = part.in_channels
        else:
            continue
        nn.init.normal_(part.weight, std=(2 / inputs) ** 0.5)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
