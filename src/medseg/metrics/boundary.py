"""Boundary IoU: how much of two masks is the same near their outlines.

The *boundary region* of a mask are its voxels whose centres lie within a distance of the centre of
a voxel outside of it; outside of the image is outside of the mask, and a voxel that touches the
outside across a face always belongs. This is the mask minus its erosion by a ball of that radius,
in millimetres where the source erodes by pixels (it takes 2 % of the image's diagonal).

Source:
    Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg.metrics.band_kernels import mark_band
from medseg.metrics.overlap import Overlap
from medseg.types import AnyArray, IntArray, SpacingMm

_STEPS = 600
"""Voxels near one outside voxel from which on distance maps are the faster way."""

BorderVoxels = npt.NDArray[np.int64]
"""Structure and flat index of each border voxel, shape (n, 2), as `find_borders` returns them."""


def boundary_overlaps(
    maps: tuple[IntArray, IntArray],
    borders: tuple[BorderVoxels, BorderVoxels],
    *,
    seen: npt.NDArray[np.uint8],
    values: Sequence[int],
    spacing_mm: SpacingMm,
    distance_mm: float,
) -> list[Overlap]:
    """How much of two label maps is the same near outlines; `.iou` of each is the boundary IoU.

    Args:
        maps: Label values of prediction and reference, shape (I, J, K), contiguous.
        borders: The border voxels of both.
        seen: One number for each voxel, flat, whose bits 1 and 2 are not set yet; changed.
        values: The label value of each structure, from structure 1 on.
        spacing_mm: Distance between voxel centres along each axis.
        distance_mm: How far the boundary region reaches inwards.

    Returns:
        Voxels of the two boundary regions and of what they share, for each structure.
    """
    ball_mm3 = 4 / 3 * math.pi * (distance_mm + max(spacing_mm)) ** 3
    if ball_mm3 > 8 * _STEPS * math.prod(spacing_mm):
        return _by_distance_maps(maps, borders, values, spacing_mm, distance_mm)
    counts = np.zeros((len(values) + 1, 3), np.int64)
    steps = _steps(spacing_mm, distance_mm)
    mark_band(maps[0], maps[1], borders[0], steps, 1, seen, counts)
    mark_band(maps[1], maps[0], borders[1], steps, 2, seen, counts)
    return [Overlap(int(p), int(r), int(both)) for p, r, both in counts[1:]]


def _steps(
    spacing_mm: SpacingMm, distance_mm: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """From an outside voxel to what is near it, seen through each face: see `mark_band`."""
    reach = [np.arange(-n, n + 1) for n in (int(distance_mm / step) + 1 for step in spacing_mm)]
    steps = np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 3)
    near = ((steps * spacing_mm) ** 2).sum(axis=1) <= distance_mm**2 * (1 + 1e-9)
    steps = steps[near].astype(np.int64)
    faces = []
    for axis in range(3):
        for direction in (1, -1):
            behind = steps[:, axis] * direction > 0
            touching = np.abs(steps).sum(axis=1) == 1
            faces.append(steps[behind & ~touching])
    begin = np.cumsum([0, *(len(face) for face in faces)])
    return np.ascontiguousarray(np.concatenate(faces)), begin.astype(np.int64)


def _by_distance_maps(
    maps: tuple[IntArray, IntArray],
    borders: tuple[BorderVoxels, BorderVoxels],
    values: Sequence[int],
    spacing_mm: SpacingMm,
    distance_mm: float,
) -> list[Overlap]:
    """The same for wide regions."""
    overlaps = []
    for n, value in enumerate(values):
        bands = []
        for labels, border in zip(maps, borders, strict=True):
            at = border[border[:, 0] == n + 1, 1]
            bands.append(_band(labels, value, at, spacing_mm, distance_mm))
        both = np.intersect1d(bands[0], bands[1], assume_unique=True).size
        overlaps.append(Overlap(bands[0].size, bands[1].size, both))
    return overlaps


def _band(
    labels: IntArray, value: int, border: AnyArray, spacing_mm: SpacingMm, distance_mm: float
) -> npt.NDArray[np.int64]:
    """Flat indices of the boundary region of one structure."""
    if not border.size:
        return np.empty(0, np.int64)
    from scipy.ndimage import distance_transform_edt  # slow to load, and few regions are wide

    corners = np.array(np.unravel_index(border, labels.shape))
    low, high = corners.min(axis=1), corners.max(axis=1) + 1
    inside = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] == value
    around = [(1, 1) if size > 1 else (0, 0) for size in labels.shape]
    away = distance_transform_edt(np.pad(inside, around), sampling=spacing_mm)
    core = away[tuple(slice(a, -a or None) for a, _ in around)]
    near = np.argwhere(inside & (core <= distance_mm * (1 + 1e-9))) + low
    return np.union1d(np.ravel_multi_index(tuple(near.T), labels.shape), border)
