"""A vision transformer over tokens that a convolutional network made."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medseg.networks.layers import LAYERS, resized

Tokens = Float[Tensor, "B T W"]
"""Tokens of a batch, in the order of the flattened grid."""


class Attention(nn.Module):
    """Scaled dot-product attention of every token to every token.

    Args:
        width: Channels of a token, a multiple of `heads`.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tokens) -> Tokens:
        """As many tokens as came in."""
        parts = (layer(tokens) for layer in (self.query, self.key, self.value))
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class TransformerLayer(nn.Module):
    """Attention, then a perceptron, each on normalised tokens and added to what came in.

    Args:
        width: Channels of a token.
        mlp_width: Channels inside the perceptron.
        heads: Attention heads.
        dropout: Share of values dropped in training, behind both layers of the perceptron.
    """

    def __init__(self, width: int, mlp_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.widen, self.narrow = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.widen, self.narrow):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, tokens: Tokens) -> Tokens:
        """As many tokens as came in."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        inside = self.dropout(F.gelu(self.widen(self.mlp_norm(tokens))))
        out: Tensor = tokens + self.dropout(self.narrow(inside))
        return out


class VisionTransformer(nn.Module):
    """A 1x1 embedding of features, learned positions, and transformer layers.

    Args:
        in_channels: Channels of the features.
        token_grid: Tokens along each axis whose positions are learned.
        width: Channels of a token.
        mlp_width: Channels inside the perceptrons.
        heads: Attention heads.
        layers: Transformer layers.
        dropout: Share of values dropped in training.

    Source:
        Dosovitskiy et al., ICLR 2021.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        token_grid: Sequence[int],
        width: int,
        mlp_width: int,
        heads: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.token_grid = tuple(token_grid)
        self.embedding = LAYERS[len(token_grid)].conv(in_channels, width, 1)
        self.positions = nn.Parameter(torch.zeros(1, math.prod(token_grid), width))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, mlp_width, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, features: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B W *grid"]:
        """Tokens laid out on the grid of the features."""
        grid = features.shape[2:]
        embedded = self.embedding(features).flatten(2).transpose(1, 2)
        tokens = self.dropout(embedded + self.positions_on(grid))
        for layer in self.layers:
            tokens = layer(tokens)
        return torch.unflatten(self.norm(tokens).transpose(1, 2), 2, grid)

    def positions_on(self, grid: Sequence[int]) -> Float[Tensor, "1 T W"]:
        """The learned positions, interpolated where the grid is another one.

        The outermost tokens keep their places, as where published weights are brought to another
        resolution.
        """
        if tuple(grid) == self.token_grid:
            return self.positions
        laid = torch.unflatten(self.positions.transpose(1, 2), 2, self.token_grid)
        return resized(laid, grid, align_corners=True).flatten(2).transpose(1, 2)
