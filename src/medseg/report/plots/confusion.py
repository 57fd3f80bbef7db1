"""Which structures are taken for which: voxels of each structure by what was predicted there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.types import IntArray

Counts = npt.NDArray[np.int64]

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Confusion:
    """Voxels of each structure by what was predicted there.

    Attributes:
        names: "background", then the structures.
        counts: Voxels, shape (N, N): rows are the reference, columns the prediction. Background
            that was rightly left out is not counted: it says how large the images are.
    """

    names: tuple[str, ...]
    counts: Counts

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Of each row by column; NaN in a row without a voxel.

        The row of the background is relative to all voxels that were predicted.
        """
        whole = self.counts.sum(axis=1, keepdims=True).astype(np.float64)
        whole[0] = self.counts[:, 1:].sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.counts / np.where(whole > 0, whole, np.nan))

    def most_confused(self, count: int) -> "Confusion":
        """The structures of which the smallest share was found, in their order; others left out.

        Args:
            count: How many, beside the background.
        """
        right = np.diag(self.shares)[1:]
        order = np.argsort(np.where(np.isfinite(right), right, np.inf), kind="stable")[:count]
        kept = [0, *sorted(int(n) + 1 for n in order)]
        return Confusion(tuple(self.names[n] for n in kept), self.counts[np.ix_(kept, kept)])


def count_confusion(predicted: IntArray, reference: IntArray, values: Sequence[int]) -> Counts:
    """Count voxels of two label maps by both values.

    Args:
        predicted: Label values, shape (I, J, K).
        reference: The same of the reference.
        values: The N - 1 structures; other values count as background.

    Returns:
        Voxels, shape (N, N): rows are the reference, columns the prediction; (0, 0) is 0.
    """
    shown = (predicted > 0) | (reference > 0)
    new, old = predicted[shown], reference[shown]
    largest = max(int(new.max(initial=0)), int(old.max(initial=0)), *values)
    place = np.zeros(largest + 1, np.int64)
    place[list(values)] = np.arange(1, len(values) + 1)
    size = len(values) + 1
    pairs = place[old] * size + place[new]
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    counts[0, 0] = 0
    return np.asarray(counts, np.int64)
