"""Several opinions on one patch: members of a bundle, each with mirrored images."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch

from medseg.inference.engine import Activation, Engine, Part
from medseg.types import FloatArray

_CHUNK_VALUES = 1 << 20
"""Values that are turned from logits to probabilities at a time."""


class Ensemble:
    """Engines and mirrors, each with its own opinion on every voxel.

    Opinions are handed out as they come, so ten of them need no more memory than one.

    Args:
        engines: One for each member.
        mirror_axes: Spatial axes (0, 1, 2 for I, J, K) along which the image is also shown
            mirrored, in every combination: 2, 4 or 8 times the work.
        activation: "softmax" for classes that exclude each other, "sigmoid" for regions that may
            overlap.

    Attributes:
        opinions: How many there are on each voxel.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        mirror_axes: Sequence[int] = (),
        activation: Activation = "softmax",
    ) -> None:
        self.engines, self.activation = tuple(engines), activation
        if not self.engines:
            raise ValueError("an ensemble has at least one engine")
        axes = sorted(set(mirror_axes))
        self.mirrors = tuple(m for n in range(len(axes) + 1) for m in combinations(axes, n))
        self.opinions = len(self.engines) * len(self.mirrors)

    def parts(self, batch: FloatArray) -> Iterator[Part]:
        """Probabilities of a batch, slab by slab, one opinion after the other.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            Parts whose values lie between 0 and 1, those of classes with the sum 1; they cover each
            voxel `opinions` times.
        """
        for engine in self.engines:
            for mirror in self.mirrors:
                axes = tuple(axis + 2 for axis in mirror)
                for first, logits in engine.parts(np.flip(batch, axes)):
                    to_probabilities(logits, self.activation)
                    after = batch.shape[2] - first - logits.shape[2]
                    yield Part(after if 0 in mirror else first, np.flip(logits, axes))

    def attention(self, batch: FloatArray) -> Iterator[FloatArray]:
        """What the gates let through, one opinion after the other.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            `opinions` arrays of shape (B, M, *patch); see `Engine.attention`.
        """
        for engine in self.engines:
            for mirror in self.mirrors:
                axes = tuple(axis + 2 for axis in mirror)
                yield np.flip(engine.attention(np.flip(batch, axes)), axes)


def to_probabilities(logits: FloatArray, activation: Activation = "softmax") -> None:
    """Turn logits to probabilities, in place and a slab at a time: no second array of their size.

    Args:
        logits: float32, shape (B, N, *patch), contiguous.
        activation: "softmax" over the N classes, or "sigmoid" of each region.
    """
    if activation == "sigmoid":
        torch.from_numpy(logits).sigmoid_()
        return
    scores = torch.from_numpy(logits).view(*logits.shape[:2], -1)
    voxels = max(1, _CHUNK_VALUES // (scores.shape[0] * scores.shape[1]))
    for start in range(0, scores.shape[2], voxels):
        part = scores[:, :, start : start + voxels]
        part.copy_(part.softmax(1))
