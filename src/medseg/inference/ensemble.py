"""Several opinions on one patch: members of a bundle, each with mirrored images."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from medseg.inference.engine import Activation, Engine, Part
from medseg.inference.evidence import to_evidence
from medseg.transforms.masks import mask_channels
from medseg.types import FloatArray


class Ensemble:
    """Engines and mirrors, each with its own opinion on every voxel.

    Opinions are handed out as they come, so ten of them need no more memory than one.

    Args:
        engines: One for each member.
        mirror_axes: Spatial axes (0, 1, 2 for I, J, K) along which the image is also shown
            mirrored, in every combination: 2, 4 or 8 times the work.
        activation: "softmax" for classes that exclude each other, "sigmoid" for regions that may
            overlap.
        mask_channels: Structures in the mask of the stage before, which the last channel of a batch
            holds as class indices: each becomes a channel. 0 where there is no such mask.

    Attributes:
        opinions: How many there are on each voxel.
        batch_voxels: Image voxels that the engines are shown at a time, about.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        mirror_axes: Sequence[int] = (),
        activation: Activation = "softmax",
        mask_channels: int = 0,
    ) -> None:
        self.engines, self.activation = tuple(engines), activation
        self._mask_channels = mask_channels
        if not self.engines:
            raise ValueError("an ensemble has at least one engine")
        axes = sorted(set(mirror_axes))
        self.mirrors = tuple(m for n in range(len(axes) + 1) for m in combinations(axes, n))
        self.opinions = len(self.engines) * len(self.mirrors)
        self.batch_voxels = min(engine.batch_voxels for engine in self.engines)

    def parts(self, batch: FloatArray, depth: float) -> Iterator[Part]:
        """Evidence of a batch, slab by slab, one opinion after the other.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch), and the mask if there is
                one.
            depth: Where evidence begins; see `medseg.inference.evidence`.

        Returns:
            Parts whose values lie between 0 and 1; they cover each voxel `opinions` times.
        """
        batch = self._shown(batch)
        for engine in self.engines:
            for mirror in self.mirrors:
                axes = tuple(axis + 2 for axis in mirror)
                for first, logits in engine.parts(np.flip(batch, axes)):
                    to_evidence(logits, self.activation, depth)
                    after = batch.shape[2] - first - logits.shape[2]
                    yield Part(after if 0 in mirror else first, np.flip(logits, axes))

    def attention(self, batch: FloatArray) -> Iterator[FloatArray]:
        """What the gates let through, one opinion after the other.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            `opinions` arrays of shape (B, M, *patch); see `Engine.attention`.
        """
        batch = self._shown(batch)
        for engine in self.engines:
            for mirror in self.mirrors:
                axes = tuple(axis + 2 for axis in mirror)
                yield np.flip(engine.attention(np.flip(batch, axes)), axes)

    def _shown(self, batch: FloatArray) -> FloatArray:
        """What the networks see: a channel for each structure in the place of a mask."""
        if not self._mask_channels:
            return batch
        channels = mask_channels(batch[:, -1].astype(np.int64), self._mask_channels)
        return np.concatenate([batch[:, :-1], np.moveaxis(channels, 0, 1)], axis=1)
