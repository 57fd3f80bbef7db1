"""Putting a label map on another grid that has the same voxel centres: exact, nothing is computed.

Two grids of one lattice differ in their extent and in the order and direction of their axes only.
Grids of different lattices need resampling (`medseg.space`).
"""

import numpy as np

from medseg.errors import DifferentSpace
from medseg.types import GridSize
from medseg.volume.geometry import Geometry
from medseg.volume.volume import LabelMap

_CURE = "Resample it instead: medseg convert IN OUT --labels --reference OTHER."


def place(label_map: LabelMap, target: Geometry) -> LabelMap:
    """The same labelled places on `target`; what it has beyond the label map is background.

    Args:
        label_map: Values on any part of the target's lattice, in any orientation.
        target: The grid of the result.

    Raises:
        DifferentSpace: If the voxel centres differ, or a structure lies outside of the target.
    """
    axes, flips = _steps_onto(label_map.geometry, target)
    geometry = label_map.geometry.reordered(axes, flips)
    start = _start_of(geometry, target)
    array = label_map.array.transpose(axes)
    array = np.flip(array, axis=tuple(n for n in range(3) if flips[n]))
    lower = [max(0, -s) for s in start]
    upper = [min(array.shape[n], target.grid_size[n] - start[n]) for n in range(3)]
    inside = array[tuple(slice(low, max(low, up)) for low, up in zip(lower, upper, strict=True))]
    outside = np.count_nonzero(array) - np.count_nonzero(inside)
    if outside:
        raise DifferentSpace(
            "All structures of a label map must lie within the grid they are put on.",
            received=f"{outside} labelled voxels outside of it",
            cure="Choose the image that was segmented.",
        )
    placed = np.zeros(target.grid_size, dtype=array.dtype)
    first = [s + low for s, low in zip(start, lower, strict=True)]
    placed[tuple(slice(f, f + n) for f, n in zip(first, inside.shape, strict=True))] = inside
    return LabelMap(placed, target, label_map.labels, label_map.source)


def _steps_onto(
    source: Geometry, target: Geometry
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Transpose and flips after which the source's axes run as the target's."""
    turn = np.rint((np.linalg.inv(source.affine) @ target.affine)[:3, :3])
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        raise DifferentSpace(
            "Both grids must have the same voxels.",
            received=f"spacings {source.spacing_mm} and {target.spacing_mm} mm, "
            f"axes {source.orientation} and {target.orientation}",
            cure=_CURE,
        )
    i, j, k = (int(n) for n in np.abs(turn).argmax(axis=0))
    a, b, c = (bool(n) for n in turn.sum(axis=0) < 0)
    return (i, j, k), (a, b, c)


def _start_of(geometry: Geometry, target: Geometry) -> GridSize:
    """The target's index of the first voxel of a grid with the same axes."""
    exact = target.world_to_index(geometry.origin_mm)
    i, j, k = (int(n) for n in np.rint(exact))
    expected = target.cropped((i, j, k), geometry.grid_size)
    if not geometry.same_space(expected):
        raise DifferentSpace(
            "Both grids must have the same voxel centres.",
            received=f"centres up to {geometry.distance_mm(expected):.3g} mm apart",
            cure=_CURE,
        )
    return i, j, k
