"""Several opinions on one patch, averaged: members of a bundle, each with mirrored images."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from medseg.inference.engine import Engine
from medseg.types import FloatArray

_CHUNK_VALUES = 1 << 20
"""Values that are turned from logits to probabilities at a time."""


class Ensemble:
    """Engines and mirrors behind the interface of one engine, giving probabilities.

    Opinions are added as they come, so ten of them need no more memory than two.

    Args:
        engines: One for each member.
        mirror_axes: Spatial axes (0, 1, 2 for I, J, K) along which the image is also shown
            mirrored, in every combination: 2, 4 or 8 times the work.
    """

    def __init__(self, engines: Sequence[Engine], *, mirror_axes: Sequence[int] = ()) -> None:
        self.engines = tuple(engines)
        axes = sorted(set(mirror_axes))
        self.mirrors = tuple(m for n in range(len(axes) + 1) for m in combinations(axes, n))

    def run(self, batch: FloatArray) -> FloatArray:
        """Mean probabilities of a batch.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            Probabilities, float32, shape (B, N, *patch); they sum to 1 over the N classes.
        """
        total: FloatArray | None = None
        for engine in self.engines:
            for mirror in self.mirrors:
                axes = tuple(axis + 2 for axis in mirror)
                opinion = engine.run(np.flip(batch, axes))
                to_probabilities(opinion)
                if total is None:
                    total = opinion
                else:
                    total += np.flip(opinion, axes)
        if total is None:
            raise ValueError("an ensemble has at least one engine")
        opinions = len(self.engines) * len(self.mirrors)
        if opinions > 1:
            total /= np.float32(opinions)
        return total


def to_probabilities(logits: FloatArray) -> None:
    """Softmax over the classes, in place and a slab at a time: no second array of their size.

    Args:
        logits: float32, shape (B, N, *patch), contiguous.
    """
    scores = torch.from_numpy(logits).view(*logits.shape[:2], -1)
    voxels = max(1, _CHUNK_VALUES // (scores.shape[0] * scores.shape[1]))
    for start in range(0, scores.shape[2], voxels):
        part = scores[:, :, start : start + voxels]
        part.copy_(part.softmax(1))
