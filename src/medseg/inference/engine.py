"""One small interface over whatever runs a network: a batch of patches in, logits out.

The logits of many classes come in parts, so that they never stand in memory whole.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np

from medseg.types import FloatArray

Device = Literal["auto", "cpu", "cuda"]
"""Where a network runs; "auto" is a GPU where there is one."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Numbers that convolutions compute with; weights and logits stay float32."""

Activation = Literal["softmax", "sigmoid"]
"""What makes probabilities of logits: of classes that exclude each other, or of regions."""

BATCH_VOXELS = 1 << 17
"""Image voxels of a batch of windows, about: on a CPU more win no time and take memory
(bench/batches.py)."""

GPU_BATCH_VOXELS = 1 << 19
"""The same on a GPU, which idles where little is asked of it."""

PART_VALUES = 1 << 20
"""Logits of a part, about (4 MiB); at least one plane of the patch."""


class Part(NamedTuple):
    """What there is to say about a slab of each patch of a batch.

    Attributes:
        first: Its first plane along the first spatial axis of the patch.
        values: Contiguous float32, shape (B, N, planes, ...); whoever gets them may change them.
    """

    first: int
    values: FloatArray


class Engine(Protocol):
    """Runs one member of a bundle. Engines over other runtimes keep this contract.

    Attributes:
        name: "torch" or the name of another runtime, for the record.
        precision: What it computes with, for the record.
        gate_names: Names of the maps that `attention` gives.
        batch_voxels: Image voxels that it is shown at a time, about.
    """

    name: str
    precision: str
    gate_names: tuple[str, ...] = ()
    batch_voxels: int = BATCH_VOXELS

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            Scores before softmax, contiguous float32, shape (B, N, *patch); the caller may
            change them.
        """
        ...

    def parts(self, batch: FloatArray) -> Iterator[Part]:
        """Logits of a batch, slab by slab; an engine that has them only whole gives one part."""
        yield Part(0, self.run(batch))

    def attention(self, batch: FloatArray) -> FloatArray:
        """What the gates of the network let through, between 0 and 1, on the grid of the patch.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            Float32, shape (B, M, *patch): the maps that `Network.gate_names` names; none of an
            engine that cannot look inside its network.
        """
        return np.zeros((len(batch), 0, *batch.shape[2:]), np.float32)
