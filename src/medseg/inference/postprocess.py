"""What is done to a finished mask: small parts go, holes are filled, structure by structure.

Each step is a function of the mask alone. It changes no voxel of another structure: what goes
becomes background, and only background is filled. Voxels are connected through their faces.
"""

from collections.abc import Sequence

import numpy as np

from medseg.specs.postprocess import (
    FilledHolesSpec,
    LargestComponentSpec,
    MinimumVolumeSpec,
    PostprocessSpec,
)
from medseg.types import IntArray, Mask
from medseg.volume.labels import Labels
from medseg.volume.volume import LabelMap


def postprocessed(label_map: LabelMap, steps: Sequence[PostprocessSpec]) -> LabelMap:
    """Do the steps one after the other.

    Args:
        label_map: A mask; it is left as it is.
        steps: What to do; structures that the mask does not know are passed over.

    Returns:
        The mask itself where nothing changes.
    """
    array = label_map.array
    for step in steps:
        value = _value(label_map.labels, step.structure)
        if value is not None:
            array = stepped(array, value, step, voxel_ml=label_map.geometry.voxel_volume_ml)
    if array is label_map.array:
        return label_map
    return LabelMap(array, label_map.geometry, label_map.labels, label_map.source)


def stepped(array: IntArray, value: int, step: PostprocessSpec, *, voxel_ml: float) -> IntArray:
    """One step on one value.

    Args:
        array: Label values, shape (I, J, K).
        value: That of the structure.
        step: What to do.
        voxel_ml: Volume of a voxel in millilitres.

    Returns:
        A new array, or `array` itself where nothing changes.
    """
    mask: Mask = array == value
    box = _box(mask)
    if box is None:
        return array
    inside, free = mask[box], array[box] == 0
    after = remaining(inside, free, step, voxel_ml=voxel_ml, flat_axis=flat_axis(array.shape))
    if np.array_equal(after, inside):
        return array
    changed = array.copy()
    changed[box][inside & ~after] = 0
    changed[box][after] = value
    return changed


def remaining(
    inside: Mask, free: Mask, step: PostprocessSpec, *, voxel_ml: float, flat_axis: int | None
) -> Mask:
    """Where a structure is after one step.

    Args:
        inside: Where it is before, in a box that holds all of it, shape (i, j, k).
        free: Which voxels of the box are background.
        step: What to do.
        voxel_ml: Volume of a voxel in millilitres.
        flat_axis: The axis along which the whole image is one slice.
    """
    match step:
        case LargestComponentSpec():
            return largest_component(inside)
        case MinimumVolumeSpec():
            return parts_of_at_least(inside, np.ceil(step.volume_ml / voxel_ml - 1e-6))
        case FilledHolesSpec():
            return np.asarray(filled(inside, flat_axis) & (free | inside))


def largest_component(mask: Mask) -> Mask:
    """The connected part of most voxels; the first one in the array of equals.

    Args:
        mask: Shape (I, J, K).
    """
    from scipy.ndimage import label  # slow to load

    parts, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + int(sizes.argmax()))


def parts_of_at_least(mask: Mask, voxels: float) -> Mask:
    """The connected parts of at least so many voxels.

    Args:
        mask: Shape (I, J, K).
        voxels: Of the smallest part that stays.
    """
    from scipy.ndimage import label  # slow to load

    parts, _ = label(mask)
    stays = np.bincount(parts.ravel()) >= voxels
    stays[0] = False
    return np.asarray(stays[parts])


def filled(mask: Mask, flat_axis: int | None = None) -> Mask:
    """The mask and all that it encloses.

    Args:
        mask: Shape (I, J, K).
        flat_axis: The axis along which an image is one slice: then a hole is one of the plane.
    """
    from scipy.ndimage import binary_fill_holes  # slow to load

    if flat_axis is None:
        return np.asarray(binary_fill_holes(mask))
    plane = binary_fill_holes(mask.squeeze(flat_axis))
    return np.asarray(np.expand_dims(plane, flat_axis))


def flat_axis(shape: Sequence[int]) -> int | None:
    """The axis of a single slice, if there is exactly one."""
    flat = [axis for axis, size in enumerate(shape) if size == 1]
    return flat[0] if len(flat) == 1 else None


def _value(labels: Labels, name: str) -> int | None:
    return next((label.value for label in labels if label.name == name), None)


def _box(mask: Mask) -> tuple[slice, ...] | None:
    """The bounding box of a mask; None if it is empty."""
    box = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not there.size:
            return None
        box.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(box)
