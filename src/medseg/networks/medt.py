"""The Medical Transformer: gated axial attention, on the whole image and on its parts."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.axial import AxialAttention, AxialBlock
from medseg.networks.layers import LAYERS, resized
from medseg.networks.network import Network
from medseg.networks.sizes import require_exactly
from medseg.specs.transformers import MedTSpec
from medseg.tensors import Features, Image, Logits


class MedT(Network):
    """MedT and its three ablations, told apart by the kind of the spec.

    The local branch sees every part of the image, whatever its size: the published code looks at
    the first 128 x 128 pixels only. All parts go through it as one batch. In prediction that is the
    same as one by one; in training batch normalisation sees all parts of an image together.

    Args:
        spec: Kind, widths and the grid that images have.

    Source:
        Valanarasu et al., Medical Transformer, MICCAI 2021.
    """

    def __init__(self, spec: MedTSpec) -> None:
        super().__init__()
        self.spec = spec
        has_local = spec.has_local_branch
        self.whole = _Branch(
            spec,
            grid=spec.grid,
            stem_channels=spec.width,
            stages=2 if has_local else 4,
            has_positions=True,
            is_gated=spec.is_gated,
            has_unused=False,
        )
        layers, finest = LAYERS[spec.dims], 2 * spec.width
        if has_local:
            has_positions = spec.kind != "medt"
            self.parts = _Branch(
                spec,
                grid=[n // spec.local_parts for n in spec.grid],
                stem_channels=8 * spec.width,
                stages=4,
                has_positions=has_positions,
                is_gated=False,
                has_unused=spec.unused_parameters and not has_positions,
            )
            self.fuse = layers.conv(finest, finest, 3, padding=1)
        self.segmentation: nn.Module = layers.conv(finest, spec.classes, 1)
        if spec.unused_parameters and has_local:
            self.unused = layers.conv(finest, spec.classes, 1)

    @property
    def head(self) -> nn.Module:
        """A 1x1 convolution."""
        return self.segmentation

    @property
    def stems(self) -> tuple[nn.Module, ...]:
        """The first convolution of each branch."""
        branches = (self.whole, self.parts) if self.spec.has_local_branch else (self.whole,)
        return tuple(branch.stem[0] for branch in branches)

    def features(self, image: Image) -> Features:
        """Features of the finest decoder stage; see `forward`."""
        if not torch.compiler.is_compiling():
            require_exactly(image, self.spec, self.spec.grid)
        features: Tensor = self.whole(image)
        if self.spec.has_local_branch:
            parts = self.parts(cut(image, self.spec.local_parts))
            features = F.relu(self.fuse(features + joined(parts, self.spec.local_parts)))
        return features

    def forward(self, image: Image) -> Logits:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities on exactly the grid of the spec.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        logits: Logits = self.head(self.features(image))
        return logits

    def at_share(self, share: float) -> None:
        """Gates learn only after the first `gates_frozen_share` of a training.

        Args:
            share: How much of the training is done, between 0 and 1.
        """
        if share < self.spec.gates_frozen_share:
            self.freeze_gates()
        else:
            self.release_gates()

    def freeze_gates(self) -> None:
        """From now on gates keep their values."""
        self._let_gates_learn(False)

    def release_gates(self) -> None:
        """From now on gates learn."""
        self._let_gates_learn(True)

    def _let_gates_learn(self, learn: bool) -> None:
        for module in self.modules():
            if isinstance(module, AxialAttention):
                module.gates.requires_grad_(learn)


class _Branch(nn.Module):
    """A stem at half the resolution, two or four stages of axial attention, and the way back."""

    def __init__(
        self,
        spec: MedTSpec,
        *,
        grid: Sequence[int],
        stem_channels: int,
        stages: int,
        has_positions: bool,
        is_gated: bool,
        has_unused: bool,
    ) -> None:
        super().__init__()
        layers = LAYERS[spec.dims]
        self.stem = nn.Sequential(
            layers.conv(spec.in_channels, stem_channels, 7, 2, 3, bias=False),
            layers.batch_norm(stem_channels),
            nn.ReLU(inplace=True),
            layers.conv(stem_channels, spec.stem_width, 3, 1, 1, bias=False),
            layers.batch_norm(spec.stem_width),
            nn.ReLU(inplace=True),
            layers.conv(spec.stem_width, stem_channels, 3, 1, 1, bias=False),
            layers.batch_norm(stem_channels),
            nn.ReLU(inplace=True),
        )
        self.stages, before, size = nn.ModuleList(), stem_channels, [n // 2 for n in grid]
        widths = [2 * spec.width * 2**stage for stage in range(stages)]
        for index, (width, count) in enumerate(zip(widths, spec.blocks, strict=False)):
            stage = nn.Sequential()
            for block in range(count):
                stride = 2 if block == 0 and index > 0 else 1
                stage.append(
                    AxialBlock(
                        before,
                        width,
                        heads=spec.heads,
                        grid=size,
                        stride=stride,
                        has_positions=has_positions,
                        is_gated=is_gated,
                        has_unused=has_unused,
                    )
                )
                before, size = 2 * width, [n // stride for n in size]
            self.stages.append(stage)
        self.deepen: nn.Module = nn.Identity()
        if stages == 4:
            self.deepen = layers.conv(before, before, 3, 2, 1)
        self.ups = nn.ModuleList(
            layers.conv(2 * width, width, 3, padding=1) for width in reversed(widths)
        )
        self.is_deep = stages == 4

    def forward(self, image: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B W *grid"]:
        """Features on the grid of the image."""
        out, skips = self.stem(image), []
        for stage in self.stages:
            out = stage(out)
            skips.append(out)
        if self.is_deep:
            out = _raised(self.deepen(out), skips[-1].shape[2:]) + skips[-1]
        grids = [skip.shape[2:] for skip in skips[:-1]]
        for up, skip, grid in zip(self.ups, skips[-2::-1], grids[::-1], strict=False):
            out = _raised(up(out), grid) + skip
        return _raised(self.ups[-1](out), image.shape[2:])


def cut(image: Float[Tensor, "B C *grid"], parts: int) -> Float[Tensor, "P C *part"]:
    """An image cut into `parts` along each axis, each part a sample of the batch."""
    dims = image.ndim - 2
    for axis in range(dims):
        image = torch.unflatten(image, 2 + 2 * axis, (parts, -1))
    places = [2 + 2 * axis for axis in range(dims)]
    return image.permute(0, *places, 1, *(p + 1 for p in places)).flatten(0, dims)


def joined(parts: Float[Tensor, "P C *part"], count: int) -> Float[Tensor, "B C *grid"]:
    """The inverse of `cut`."""
    dims = parts.ndim - 2
    laid = torch.unflatten(parts, 0, (-1, *(count,) * dims))
    order = [place for axis in range(dims) for place in (1 + axis, 2 + dims + axis)]
    out = laid.permute(0, 1 + dims, *order)
    for axis in range(dims):
        out = out.flatten(2 + axis, 3 + axis)
    return out


def _raised(features: Tensor, grid: Sequence[int]) -> Tensor:
    """Rectified, on the grid of a finer stage."""
    return F.relu(resized(features, grid, align_corners=False))
