"""A label map on the grid of an image: exact where both have the same voxels, else by a vote."""

from medseg.errors import DifferentSpace
from medseg.space.resample import resample_labels
from medseg.volume.geometry import Geometry
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap


def labels_onto(label_map: LabelMap, grid: Geometry) -> LabelMap:
    """The same structures on another grid; nothing is computed where its voxels are the same.

    Args:
        label_map: The label map.
        grid: The grid of the result; what it has beyond the label map is background.
    """
    try:
        return place(label_map, grid)
    except DifferentSpace:
        return resample_labels(label_map, grid)
