"""Which parts of one mask stand for which of another: one to one, by intersection over union (IoU).

Source:
    Kirillov et al., Panoptic Segmentation, CVPR 2019; Maier-Hein et al., Metrics Reloaded, Nature
    Methods 21, 2024, on matching in instance segmentation.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medseg.metrics.overlap import Overlap
from medseg.types import IntArray

Matching = Literal["overlap", "half"]
"""Which parts may belong together.

* `overlap`: those that share a voxel; of all ways to pair them, the one with the largest sum of IoU
  is taken. A prediction that joins two lesions finds one of them.
* `half`: those with an IoU above 0.5; there is only one way.
"""


@dataclass(frozen=True, eq=False)
class Meetings:
    """Voxels of each part, and of all pairs of parts that meet; numbers start at 1.

    Attributes:
        predicted: Shape (n + 1,).
        reference: Shape (m + 1,).
        both: Voxels that a pair shares, by number in the prediction and in the reference.
    """

    predicted: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]
    both: dict[tuple[int, int], int]

    def overlap(self, predicted: int | None, reference: int | None) -> Overlap:
        """Of one pair, or of one part alone."""
        p, r = predicted or 0, reference or 0
        return Overlap(
            int(self.predicted[p]) if p else 0,
            int(self.reference[r]) if r else 0,
            self.both.get((p, r), 0),
        )


def meetings(predicted: IntArray, reference: IntArray) -> Meetings:
    """Count the voxels of all parts, and of all that meet.

    Args:
        predicted: The number of the part that each voxel belongs to, without gaps from 1 on; 0 for
            none. Shape (I, J, K) or (I, J).
        reference: The same of the reference.
    """
    sizes = np.bincount(predicted.ravel()), np.bincount(reference.ravel())
    meet = (predicted > 0) & (reference > 0)
    shared = predicted[meet].astype(np.int64) * sizes[1].size + reference[meet]
    pairs, voxels = np.unique(shared, return_counts=True)
    both = {
        (int(pair) // sizes[1].size, int(pair) % sizes[1].size): int(count)
        for pair, count in zip(pairs, voxels, strict=True)
    }
    return Meetings(sizes[0], sizes[1], both)


def pair_up(sizes: Meetings, matching: Matching) -> dict[int, int]:
    """Number in the reference -> number in the prediction of all parts that belong together.

    Args:
        sizes: Of all parts.
        matching: Which may belong together.
    """
    ious = {pair: sizes.overlap(*pair).iou for pair in sizes.both}
    if matching == "half":
        return {r: p for (p, r), iou in ious.items() if iou > 0.5}
    if not ious:
        return {}
    rows, columns = np.array(list(ious)).T
    size = max(sizes.predicted.size, sizes.reference.size)
    meets = coo_array((np.ones(rows.size), (rows, columns + size)), shape=(2 * size, 2 * size))
    group_of = connected_components(meets, directed=False)[1][rows]
    pairs: dict[int, int] = {}
    for group in np.split(np.argsort(group_of, kind="stable"), _ends(group_of)):
        there, at = np.unique(rows[group], return_inverse=True)
        back, to = np.unique(columns[group], return_inverse=True)
        table = np.zeros((there.size, back.size))
        table[at, to] = [ious[int(rows[n]), int(columns[n])] for n in group]
        for p, r in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[p, r] > 0:
                pairs[int(back[r])] = int(there[p])
    return pairs


def _ends(groups: IntArray) -> npt.NDArray[np.int64]:
    """Where the sorted groups end, but the last."""
    counts = np.unique(groups, return_counts=True)[1]
    ends: npt.NDArray[np.int64] = np.cumsum(counts)[:-1]
    return ends
