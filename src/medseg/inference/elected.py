"""The class of each voxel that opinions elect together, on any grid."""

from collections.abc import Sequence

import numpy as np

from medseg.inference.evidence import probabilities
from medseg.space.painting import paint
from medseg.space.votes import TopClasses, vote_together
from medseg.types import IntArray
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Labels
from medseg.volume.regions import Regions, painted_classes
from medseg.volume.volume import LabelMap, Volume


def elected(
    tops: Sequence[TopClasses], target: Geometry, labels: Labels, regions: Regions
) -> IntArray:
    """Class indices on a grid, elected together or painted region by region.

    Args:
        tops: What each configuration says, on its own grid. A single one elects by its mean
            logits; of several, the probabilities count, of each alike, and of regions where not
            all have slots, since there is no telling what one without had for a logit.
        target: The grid.
        labels: The structures; the n-th is class n + 1.
        regions: What the networks find instead, if they do.

    Returns:
        Shape (I, J, K) of the target.
    """
    few_slots = regions and any(len(top.classes) < len(regions) for top in tops)
    if len(tops) > 1 or few_slots:
        tops = [probabilities(top) for top in tops]
    if regions:
        return paint(tops, target, painted_classes(regions, labels))
    return vote_together(tops, target)


def voted(
    tops: Sequence[TopClasses], volume: Volume, labels: Labels, *, regions: Regions = ()
) -> LabelMap:
    """The mask that opinions elect together, or paint region by region, on the grid of the case.

    Args:
        tops: What each configuration says, on its own grid; each counts alike.
        volume: The case.
        labels: The structures; the n-th is class n + 1.
        regions: What the networks find instead, if they do.
    """
    values = file_values(elected(tops, volume.geometry, labels, regions), labels)
    return LabelMap(values, volume.geometry, labels, volume.source)


def file_values(classes: IntArray, labels: Labels) -> IntArray:
    """Class indices -> the values that files hold, in the smallest type."""
    values = [0, *(label.value for label in labels)]
    dtype = np.uint8 if values[-1] < 256 else np.uint16
    if values == list(range(len(values))):
        return classes.astype(dtype, copy=False)
    table: IntArray = np.array(values, dtype)
    return np.asarray(table[classes])
