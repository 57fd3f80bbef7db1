"""Resampling as nnU-Net does it, for networks that learned from images made so.

An image becomes the grid of a spacing by cubic interpolation without smoothing, and values that
overshoot are clipped to those of the image. Where voxels are more than three times as long along
one axis, slices across it are resampled one by one, and each new slice is the nearest of them.
Logits return the same way, by linear interpolation.

Source:
    nnU-Net v2 (Isensee et al., Nature Methods 18, 2021), `default_resampling`, with the cubic
    (images) and linear (logits) order and nearest slices that its plans have by default.
"""

from dataclasses import replace

import numpy as np

from medseg.space.grids import grid_of_size
from medseg.space.resample import resample_array
from medseg.space.votes import TopClasses
from medseg.types import AnyArray, FloatArray, GridSize, SpacingMm
from medseg.volume.geometry import Geometry

ANISOTROPIC = 3.0
"""Above this ratio of the longest to the shortest spacing, slices are resampled one by one."""


_PADDING = 10
"""Voxels after which the end of a cubic spline is no longer felt."""


def apart_axis(current_mm: SpacingMm, new_mm: SpacingMm) -> int | None:
    """The axis across which slices are kept apart; None where there is none.

    Args:
        current_mm: Spacing of the grid to start from. It decides, if it is anisotropic.
        new_mm: Spacing that is wanted; it decides otherwise.
    """
    for spacing in (current_mm, new_mm):
        if max(spacing) / min(spacing) > ANISOTROPIC:
            longest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return longest[0] if len(longest) == 1 else None
    return None


def resample_as_nnunet(
    image: FloatArray, source: Geometry, target: Geometry, across: int | None
) -> FloatArray:
    """Put an image on a grid over the same field of view.

    Args:
        image: Channels, float32, shape (C, I, J, K).
        source: Where its grid lies.
        target: The grid to fill, as `grid_at_spacing` makes it.
        across: The axis across which slices are kept apart, or None.

    Returns:
        Float32, shape (C, I, J, K) of `target`.
    """
    size = list(target.grid_size)
    if across is not None:
        size[across] = source.grid_size[across]
    within = grid_of_size(source, (size[0], size[1], size[2]))
    moved = resample_array(
        *_padded(image, source, within), within, interpolation="cubic", anti_alias=False
    )
    kept = tuple(axis for axis in (1, 2, 3) if across is None or axis != across + 1)
    moved = np.clip(moved, image.min(axis=kept, keepdims=True), image.max(axis=kept, keepdims=True))
    return moved if across is None else _nearest(moved, across + 1, target.grid_size[across])


def returning(top: TopClasses, target: Geometry, across: int | None) -> TopClasses:
    """The same voxels with as many slices across an axis as the case has, each the nearest.

    Args:
        top: Classes on the network's grid.
        target: The grid of the case, its axes in any order; it may reach further.
        across: The axis of `top` across which slices are kept apart, or None.
    """
    if across is None:
        return top
    geometry = top.geometry
    length = geometry.grid_size[across] * geometry.spacing_mm[across]
    own = target.reordered(*target.steps_to(geometry.orientation)).spacing_mm[across]
    size = list(geometry.grid_size)
    size[across] = max(1, round(length / own))
    grid_size: GridSize = (size[0], size[1], size[2])
    return replace(
        top,
        classes=_nearest(top.classes, across + 1, size[across]),
        weights=_nearest(top.weights, across + 1, size[across]),
        geometry=grid_of_size(geometry, grid_size),
    )


def _padded(image: FloatArray, source: Geometry, target: Geometry) -> tuple[FloatArray, Geometry]:
    """The image with its outermost voxels repeated, along each axis that changes."""
    pairs = zip(source.grid_size, target.grid_size, strict=True)
    before = [_PADDING if old != new else 0 for old, new in pairs]
    to_source = np.eye(4)
    to_source[:3, 3] = [-n for n in before]
    i, j, k = (old + 2 * n for old, n in zip(source.grid_size, before, strict=True))
    array = np.pad(image, [(0, 0), *((n, n) for n in before)], mode="edge")
    return array, Geometry(source.affine @ to_source, (i, j, k))


def _nearest(array: AnyArray, axis: int, count: int) -> AnyArray:
    """As many slices across an axis over the same length; half way, the later one."""
    step = array.shape[axis] / count
    at = np.floor(step * (np.arange(count) + 0.5)).astype(np.int64)
    return np.asarray(np.take(array, np.minimum(at, array.shape[axis] - 1), axis))
