"""How well a batch was segmented, counted from its logits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.losses import RegionMembers


class BatchOverlap:
    """Counts voxels of prediction, reference and both.

    Args:
        regions: Class indices of each region; none where classes exclude each other.
        ignored: Class index of voxels that do not count.
    """

    def __init__(
        self, regions: Sequence[Sequence[int]] = (), *, ignored: int | None = None
    ) -> None:
        self._members = RegionMembers(regions) if regions else None
        self._ignored = ignored

    def counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Voxels of each structure, those that count.

        Args:
            logits: Shape (B, N, *grid).
            labels: Class indices, shape (B, *grid).

        Returns:
            Rows for prediction, reference and both, shape (3, N - 1) for classes and (3, N) for
            regions, on the CPU.
        """
        labels = labels.to(logits.device)
        if self._members is None:
            return _of_classes(logits, labels, self._ignored).cpu()
        counted = torch.ones_like(labels, dtype=torch.bool)
        if self._ignored is not None:
            counted = labels != self._ignored
        predicted = (logits > 0) & counted[:, None]
        truth = self._members.to(logits.device)(labels) & counted[:, None]
        parts = (predicted, truth, predicted & truth)
        return torch.stack([part.transpose(0, 1).flatten(1).sum(1) for part in parts]).cpu()


def mean_dice_of(overlap: Tensor) -> float:
    """Mean Dice of the structures that occur, from counts (3, S); 0 where none does."""
    predicted, truth, both = overlap.double()
    there = predicted + truth > 0
    return float((2 * both[there] / (predicted + truth)[there]).mean()) if there.any() else 0.0


def _of_classes(logits: Tensor, labels: Tensor, ignored: int | None) -> Tensor:
    """On a CPU `max` finds the classes eight times as fast as `argmax`."""
    predicted = logits.max(dim=1).indices.flatten()
    classes = logits.shape[1]
    truth = labels.flatten()
    if ignored is not None:
        counted = truth != ignored
        predicted, truth = predicted[counted], truth[counted]
    both = predicted[predicted == truth]
    counts = [torch.bincount(part, minlength=classes)[1:] for part in (predicted, truth, both)]
    return torch.stack(counts)
