"""clDice: whether the middle lines of tubes lie inside of each other's masks.

Source:
    Shit et al., clDice - a Novel Topology-Preserving Loss Function for Tubular Structure
    Segmentation, CVPR 2021. Skeletons as there: by thinning, Lee et al. 1994 in 3D, Zhang and Suen
    1984 in 2D, through scikit-image.
"""

import numpy as np

from medseg.types import Mask


def cldice(predicted: Mask, reference: Mask) -> float:
    """Harmonic mean of topology precision and topology sensitivity, 0 to 1.

    Topology precision is the share of the prediction's skeleton inside of the reference, topology
    sensitivity that of the reference's skeleton inside of the prediction. Counted in voxels, which
    thinning takes for cubes whatever their spacing is.

    Args:
        predicted: Shape (I, J, K) or (I, J); an axis of one voxel counts as none.
        reference: The same of the reference.

    Returns:
        1.0 if both are empty, 0.0 if one is.
    """
    if not (predicted.any() and reference.any()):
        return float(predicted.any() == reference.any())
    if predicted.ndim == 3 and 1 in predicted.shape:
        axis = predicted.shape.index(1)
        return cldice(predicted.squeeze(axis), reference.squeeze(axis))
    box = _box(predicted | reference)
    there, back = predicted[box], reference[box]
    precision = _share_inside(there, back)
    sensitivity = _share_inside(back, there)
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def _share_inside(mask: Mask, other: Mask) -> float:
    """Share of the skeleton of a mask that lies in another."""
    from skimage.morphology import skeletonize  # slow to load, and few structures are tubes

    skeleton = skeletonize(mask).astype(bool)
    middle = skeleton if skeleton.any() else mask
    return float((middle & other).sum() / middle.sum())


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds all of a mask."""
    found = []
    for axis in range(mask.ndim):
        others = tuple(n for n in range(mask.ndim) if n != axis)
        there = np.flatnonzero(mask.any(axis=others))
        found.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(found)
