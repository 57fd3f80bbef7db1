"""How much of two masks is the same: counts of voxels, and what follows from them."""

import math
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

    @property
    def sensitivity(self) -> float:
        """Share of the reference that was found (recall): 1.0 if both are empty.

        0.0 if only the reference is empty: what was found there is not there.
        """
        if self.reference:
            return self.both / self.reference
        return 0.0 if self.predicted else 1.0

    @property
    def precision(self) -> float:
        """Share of the prediction that is right: 1.0 if both are empty.

        0.0 if only the prediction is empty: nothing right was predicted.
        """
        if self.predicted:
            return self.both / self.predicted
        return 0.0 if self.reference else 1.0

    def specificity(self, voxels: int) -> float:
        """Share of what lies outside of the reference that the prediction leaves out.

        Close to 1 for any small structure in a large image. 1.0 if the reference fills the image.

        Args:
            voxels: Of the whole image.
        """
        outside = voxels - self.reference
        return (outside - (self.predicted - self.both)) / outside if outside else 1.0

    @property
    def relative_volume_difference(self) -> float:
        """Prediction minus reference, as a share of the reference.

        0.0 if both are empty, -1.0 if only the prediction is, inf if only the reference is.

        Source:
            Heimann et al., IEEE TMI 28(8), 2009, where it is a percentage.
        """
        if self.reference:
            return (self.predicted - self.reference) / self.reference
        return math.inf if self.predicted else 0.0
