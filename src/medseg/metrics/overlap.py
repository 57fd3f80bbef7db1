"""How much of two masks is the same: counts of voxels, and what follows from them."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "both_empty", "missed", "false_positive"]
"""Whether both masks hold something, neither, only the reference, or only the prediction."""


@dataclass(frozen=True)
class Overlap:
    """Voxels of one structure in a prediction and in its reference.

    Attributes:
        predicted: Voxels of the prediction.
        reference: Voxels of the reference.
        both: Voxels that lie in both.
    """

    predicted: int
    reference: int
    both: int

    @property
    def status(self) -> Status:
        """Which of the two masks are empty."""
        if self.predicted and self.reference:
            return "ok"
        if self.predicted:
            return "false_positive"
        return "missed" if self.reference else "both_empty"

    @property
    def dice(self) -> float:
        """Twice the shared voxels over the sum of both: 1.0 if both are empty, 0.0 if one is.

        Source:
            Dice, Ecology 26(3), 1945.
        """
        total = self.predicted + self.reference
        return 2.0 * self.both / total if total else 1.0

    @property
    def iou(self) -> float:
        """Shared voxels over voxels in either: 1.0 if both are empty, 0.0 if one is.

        Source:
            Jaccard, New Phytologist 11(2), 1912.
        """
        union = self.predicted + self.reference - self.both
        return self.both / union if union else 1.0
