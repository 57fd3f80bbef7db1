"""Axial attention: every voxel looks along one axis at a time, and knows how far it looks."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import LAYERS

GATES = {"query": 0.1, "key": 0.1, "position_value": 0.1, "value": 1.0}
"""First values of the gates of an attention: position terms begin small."""


class AxialAttention(nn.Module):
    """Attention along one axis.

    Without positions it is plain attention. With them, query, key and value each have a term that
    depends on the distance between two voxels, and gates may weigh these terms.

    Args:
        width: Channels that come in and go out, a multiple of twice the heads.
        heads: Attention heads.
        length: Voxels along the axis.
        axis: Which spatial axis, from 0.
        has_positions: Whether distances count.
        is_gated: Whether gates weigh the terms of positions.

    Source:
        Wang et al., Axial-DeepLab, ECCV 2020; gates: Valanarasu et al., MICCAI 2021.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        length: int,
        axis: int,
        has_positions: bool,
        is_gated: bool,
    ) -> None:
        super().__init__()
        self.heads, self.length, self.axis = heads, length, axis
        self.has_positions = has_positions
        self.sizes = [width // heads // 2, width // heads // 2, width // heads]
        terms = 3 if has_positions else 1
        sources = 2 if has_positions else 1
        self.query_key_value = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.input_norm = nn.BatchNorm1d(2 * width)
        self.similarity_norm = nn.BatchNorm2d(terms * heads)
        self.output_norm = nn.BatchNorm1d(sources * width)
        nn.init.normal_(self.query_key_value.weight, std=math.sqrt(1 / width))
        if has_positions:
            self.distances = nn.Parameter(torch.empty(2 * width // heads, 2 * length - 1))
            nn.init.normal_(self.distances, std=math.sqrt(heads / width))
        self.gates = nn.ParameterDict()
        if is_gated:
            self.gates.update({n: nn.Parameter(torch.tensor(v)) for n, v in GATES.items()})

    def forward(self, image: Float[Tensor, "B W *grid"]) -> Float[Tensor, "B W *grid"]:
        """Each line along the axis is attended to by itself."""
        moved = image.movedim(2 + self.axis, -1).movedim(1, -2)
        lines = self._lines(moved.flatten(0, -3))
        out = torch.unflatten(lines, 0, moved.shape[:-2])
        return out.movedim(-2, 1).movedim(-1, 2 + self.axis)

    def _lines(self, lines: Tensor) -> Tensor:
        """Lines (many, width, length) in and out."""
        normed = self.input_norm(self.query_key_value(lines))
        parts = torch.unflatten(normed, 1, (self.heads, -1))
        query, key, value = torch.split(parts, self.sizes, dim=2)
        similarity = torch.einsum("bgci,bgcj->bgij", query, key)
        if not self.has_positions:
            weights = F.softmax(self.similarity_norm(similarity), dim=3)
            mixed = torch.einsum("bgij,bgcj->bgci", weights, value)
            plain: Tensor = self.output_norm(mixed.flatten(1, 2))
            return plain
        of_query, of_key, of_value = self._embeddings()
        by_query = torch.einsum("bgci,cij->bgij", query, of_query)
        by_key = torch.einsum("bgcj,cji->bgij", key, of_key)
        terms = (similarity, self._gated(by_query, "query"), self._gated(by_key, "key"))
        normed = self.similarity_norm(torch.cat(terms, dim=1))
        weights = F.softmax(torch.unflatten(normed, 1, (3, self.heads)).sum(1), dim=3)
        mixed = torch.einsum("bgij,bgcj->bgci", weights, value)
        placed = torch.einsum("bgij,cij->bgci", weights, of_value)
        both = (self._gated(mixed, "value"), self._gated(placed, "position_value"))
        stacked = torch.stack(both, dim=3).flatten(1, 3)
        return torch.unflatten(self.output_norm(stacked), 1, (-1, 2)).sum(2)

    def _embeddings(self) -> tuple[Tensor, ...]:
        """What distances mean for query, key and value; each (channels, length, length)."""
        places = torch.arange(self.length, device=self.distances.device)
        distance = places[:, None] - places + self.length - 1
        return torch.split(self.distances[:, distance], self.sizes, dim=0)

    def _gated(self, term: Tensor, name: str) -> Tensor:
        return self.gates[name] * term if name in self.gates else term


class AxialBlock(nn.Module):
    """A bottleneck whose middle is attention along each axis in turn.

    Args:
        in_channels: Channels that come in.
        width: Channels of the attention; twice as many go out.
        heads: Attention heads.
        grid: Voxels along each axis that come in.
        stride: 2 halves the grid by the mean of neighbours behind the last attention.
        has_positions: See `AxialAttention`.
        is_gated: See `AxialAttention`.
        has_unused: Whether to hold the convolution that the published code makes and never uses.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        heads: int,
        grid: Sequence[int],
        stride: int,
        has_positions: bool,
        is_gated: bool,
        has_unused: bool,
    ) -> None:
        super().__init__()
        layers, out_channels = LAYERS[len(grid)], 2 * width
        self.narrow = layers.conv(in_channels, width, 1, bias=False)
        self.narrow_norm = layers.batch_norm(width)
        self.attentions = nn.Sequential(
            *(
                AxialAttention(
                    width,
                    heads=heads,
                    length=length,
                    axis=axis,
                    has_positions=has_positions,
                    is_gated=is_gated,
                )
                for axis, length in enumerate(grid)
            )
        )
        self.stride = stride
        self.widen = layers.conv(width, out_channels, 1, bias=False)
        self.widen_norm = layers.batch_norm(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                layers.conv(in_channels, out_channels, 1, stride, bias=False),
                layers.batch_norm(out_channels),
            )
        if has_unused:
            self.unused = layers.conv(width, width, 1)

    def forward(self, image: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B W *coarse"]:
        """Channels in, twice the width out."""
        out = self.attentions(F.relu(self.narrow_norm(self.narrow(image))))
        if self.stride > 1:
            pool = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
            out = pool(out, self.stride)
        out = self.widen_norm(self.widen(F.relu(out)))
        return F.relu(out + self.shortcut(image))
