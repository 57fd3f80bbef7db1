"""Windows in which nothing is to be seen: one answer of the network holds for all that are alike.

What a network says depends on what it is shown alone. So of windows that hold one intensity and
nothing else (air that was clipped, borders that were masked) the first one is shown, and what was
said is said again of the others: the mask is the same as if all had been shown. Of windows of air,
where these are told by their intensities, nothing is shown at all, if that is asked for.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from medseg.inference.engine import PART_VALUES, Part
from medseg.space.votes import Evidence
from medseg.types import FloatArray, IntArray

MOST_BYTES = 64 << 20
"""Of an answer that is kept; a larger one is computed again each time."""

MOST_ANSWERS = 4
"""That are kept."""


class Teller(Protocol):
    """Whoever gives evidence for a batch: an `Ensemble`."""

    def parts(self, batch: FloatArray, depth: float) -> Iterator[Part]:
        """Patches (B, C, *patch) -> evidence that begins so deep, slab by slab."""
        ...


class _Kept(NamedTuple):
    """A part of an answer, without the classes that have no evidence in it."""

    first: int
    shape: tuple[int, ...]
    classes: IntArray
    values: FloatArray

    def part(self) -> Part:
        whole: FloatArray = np.zeros(self.shape, np.float32)
        whole[:, self.classes] = self.values
        return Part(self.first, whole)


class Blanks:
    """A network that need not be asked about every window.

    Args:
        network: Asked where something is to be seen.
        evidence: How its answers come.
        classes: Number of classes N, or of regions.
        air: For each channel, the largest intensity of air; None to ask about air too.

    Attributes:
        spared: Windows about which the network was not asked.
    """

    def __init__(
        self,
        network: Teller,
        evidence: Evidence,
        classes: int,
        air: Sequence[float] | None = None,
    ) -> None:
        self._network, self._evidence, self._classes = network, evidence, classes
        self._air = None if air is None else np.asarray(air, np.float32)
        self._answers: dict[bytes, tuple[_Kept, ...]] = {}
        self.spared = 0

    def parts(self, batch: FloatArray) -> Iterator[tuple[Part, tuple[int, ...]]]:
        """Evidence of a batch, slab by slab.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Yields:
            Parts, each with the places in the batch of the windows that it is about.
        """
        flat = batch.reshape(*batch.shape[:2], -1)
        most = flat.max(axis=2)
        is_air = np.zeros(len(batch), np.bool_)
        if self._air is not None:
            is_air = (most <= self._air).all(axis=1)
        is_blank = (most == flat.min(axis=2)).all(axis=1) & ~is_air
        seen = tuple(int(n) for n in np.flatnonzero(~is_air & ~is_blank))
        if seen:
            shown = batch if len(seen) == len(batch) else batch[list(seen)]
            for part in self._network.parts(shown, self._evidence.depth):
                yield part, seen
        for n in np.flatnonzero(is_air):
            self.spared += 1
            for part in self._of_air(batch.shape[2:]):
                yield part, (int(n),)
        for n in np.flatnonzero(is_blank):
            for part in self._alike(batch[n], most[n].tobytes()):
                yield part, (int(n),)

    def _alike(self, patch: FloatArray, key: bytes) -> Iterator[Part]:
        """What is said about a window of one intensity."""
        if key in self._answers:
            self.spared += 1
            for kept in self._answers[key]:
                yield kept.part()
            return
        answer: list[_Kept] | None = [] if len(self._answers) < MOST_ANSWERS else None
        size = 0
        for part in self._network.parts(patch[None], self._evidence.depth):
            if answer is not None:
                values = part.values.reshape(*part.values.shape[:2], -1)
                classes = np.flatnonzero(values.any(axis=(0, 2)))
                answer.append(_Kept(part.first, part.values.shape, classes,
                                    part.values[:, classes]))  # fmt: skip
                size += answer[-1].values.nbytes
                if size > MOST_BYTES:
                    answer = None
            yield part
        if answer is not None:
            self._answers[key] = tuple(answer)

    def _of_air(self, patch: Sequence[int]) -> Iterator[Part]:
        """Background, without doubt; of regions, none."""
        if self._evidence.activation == "sigmoid":
            return
        plane = self._classes * int(np.prod(patch[1:]))
        planes = max(1, PART_VALUES // plane)
        for first in range(0, patch[0], planes):
            some = min(planes, patch[0] - first)
            values: FloatArray = np.zeros((1, self._classes, some, *patch[1:]), np.float32)
            values[:, 0] = 1.0
            yield Part(first, values)
