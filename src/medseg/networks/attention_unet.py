"""The Attention U-Net: a coarser stage decides which voxels of a skip come through."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import LAYERS, resized
from medseg.networks.network import Network
from medseg.networks.pooled import pooled
from medseg.networks.sizes import require_multiples
from medseg.specs import AttentionUNetSpec
from medseg.tensors import Features, Image, Logits


class AttentionUNet(Network):
    """A narrow U-Net whose skips pass two gates each, and whose logits are fused from all scales.

    Every decoder stage makes scores of the classes; brought up to the grid of the image they are
    the features, and the head mixes them. The finest skip has no gate, as in the paper.

    Values are interpolated between the centres of voxels (`align_corners=False`).

    Args:
        spec: Widths, strides and whether there are gates.

    Source:
        Oktay et al., Attention U-Net, MIDL 2018.
    """

    def __init__(self, spec: AttentionUNetSpec) -> None:
        super().__init__()
        self.spec = spec
        layers, widths, coarsest = LAYERS[spec.dims], spec.features, len(spec.features) - 1
        self.encoder = nn.ModuleList(
            _double(before, width, spec.dims)
            for before, width in pairwise((spec.in_channels, *widths))
        )
        levels = range(coarsest - 1, -1, -1)
        self.decoder = nn.ModuleList(
            _double(widths[n] + widths[n + 1], widths[n], spec.dims) for n in levels
        )
        gated = [n for n in levels if n > 0 and spec.is_gated]
        self.gates = nn.ModuleList(
            DoubleGate(widths[n], widths[n + 1], spec.strides[n + 1]) for n in gated
        )
        if gated:
            self.signal = _conv_norm_act(widths[-1], widths[-1], spec.dims, kernel=1)
        self.scores = nn.ModuleList(layers.conv(width, spec.classes, 1) for width in widths[:-1])
        self.fuse = layers.conv(coarsest * spec.classes, spec.classes, 1)
        _initialise(self)

    @property
    def head(self) -> nn.Module:
        """The 1x1 convolution that fuses the scores of all scales."""
        fuse: nn.Module = self.fuse
        return fuse

    def features(self, image: Image) -> Features:
        """Scores of every decoder stage on the grid of the image, finest first; see `forward`."""
        stages, _ = self._decoded(image)
        scores = [score(stage) for score, stage in zip(self.scores, stages, strict=True)]
        grid = image.shape[2:]
        coarser = [resized(one, grid, align_corners=False) for one in scores[1:]]
        return torch.cat((scores[0], *coarser), dim=1)

    def forward(self, image: Image) -> Logits:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities; each axis a multiple of the spec's `divisor`.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        logits: Logits = self.head(self.features(image))
        return logits

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Two gates for each skip that has some, coarsest first; stage 1 is the finest, without."""
        stages = range(len(self.spec.features) - 1, 1, -1) if self.gates else ()
        return tuple(f"stage{n}_gate{gate}" for n in stages for gate in (1, 2))

    def attention(self, image: Image) -> tuple[Float[Tensor, "B 2 ..."], ...]:
        """What the gates let through, between 0 and 1: two maps a skip, coarsest skip first.

        Each lies on the grid of its skip. There are none without gates.
        """
        return tuple(self._decoded(image)[1])

    def _decoded(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Features of each decoder stage, finest first, and what the gates let through."""
        if not torch.compiler.is_compiling():
            require_multiples(image, self.spec)
        skips: list[Tensor] = []
        for stage, step in zip(self.encoder, self.spec.strides, strict=True):
            skips.append(stage(pooled(skips[-1], step) if skips else image))
        features = skips.pop()
        signal = self.signal(features) if self.gates else features
        stages, maps = [], []
        for n, stage in enumerate(self.decoder):
            skip = skips.pop()
            raised = resized(features, skip.shape[2:], align_corners=False)
            if n < len(self.gates):
                skip, attention = self.gates[n](skip, signal)
                maps.append(attention)
            features = signal = stage(torch.cat((skip, raised), dim=1))
            stages.append(features)
        return stages[::-1], maps


class AttentionGate(nn.Module):
    """Weighs each voxel of a skip by what a coarser signal says about its place.

    The skip goes to the grid of the signal by a strided convolution, the signal is interpolated to
    that grid, and their sum decides. The weights are brought up to the grid of the skip before they
    multiply it.

    Args:
        width: Channels of the skip, also of the sum.
        signal_width: Channels of the signal.
        step: Voxels of the skip along each axis for one of the signal.
    """

    def __init__(self, width: int, signal_width: int, step: Sequence[int]) -> None:
        super().__init__()
        layers, steps = LAYERS[len(step)], tuple(step)
        self.theta = layers.conv(width, width, steps, steps, bias=False)
        self.phi = layers.conv(signal_width, width, 1)
        self.psi = layers.conv(width, 1, 1)
        self.out = nn.Sequential(layers.conv(width, width, 1), layers.batch_norm(width))

    def forward(
        self, skip: Float[Tensor, "B W *grid"], signal: Float[Tensor, "B S *coarse"]
    ) -> tuple[Float[Tensor, "B W *grid"], Float[Tensor, "B 1 *grid"]]:
        """The weighed skip, and the weights."""
        here = self.theta(skip)
        there = resized(self.phi(signal), here.shape[2:], align_corners=False)
        coarse = torch.sigmoid(self.psi(F.relu(here + there)))
        attention = resized(coarse, skip.shape[2:], align_corners=False)
        return self.out(attention * skip), attention


class DoubleGate(nn.Module):
    """Two gates side by side, joined by a 1x1 convolution with batch normalisation and ReLU.

    Args:
        width: Channels of the skip.
        signal_width: Channels of the signal.
        step: Voxels of the skip along each axis for one of the signal.
    """

    def __init__(self, width: int, signal_width: int, step: Sequence[int]) -> None:
        super().__init__()
        self.first = AttentionGate(width, signal_width, step)
        self.second = AttentionGate(width, signal_width, step)
        self.join = _conv_norm_act(2 * width, width, len(step), kernel=1)

    def forward(
        self, skip: Float[Tensor, "B W *grid"], signal: Float[Tensor, "B S *coarse"]
    ) -> tuple[Float[Tensor, "B W *grid"], Float[Tensor, "B 2 *grid"]]:
        """The skip as both gates let it through, and their weights."""
        one, one_weights = self.first(skip, signal)
        two, two_weights = self.second(skip, signal)
        joined = self.join(torch.cat((one, two), dim=1))
        return joined, torch.cat((one_weights, two_weights), dim=1)


def _double(in_channels: int, width: int, dims: int) -> nn.Sequential:
    first = _conv_norm_act(in_channels, width, dims)
    return nn.Sequential(first, _conv_norm_act(width, width, dims))


def _conv_norm_act(
    in_channels: int, out_channels: int, dims: int, *, kernel: int = 3
) -> nn.Sequential:
    """A biased convolution that keeps the grid, batch normalisation, ReLU."""
    layers = LAYERS[dims]
    return nn.Sequential(
        layers.conv(in_channels, out_channels, kernel, padding=kernel // 2),
        layers.batch_norm(out_channels),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    """Kaiming-normal convolutions; scales of batch normalisation around 1, as in the repository."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)
