"""Volumes made coarser by the mean of blocks of voxels: no voxel is skipped, none counts twice."""

from dataclasses import dataclass

import numpy as np

from medseg.types import AnyArray, FloatArray, GridSize, SpacingMm


@dataclass(frozen=True, eq=False)
class Blocks:
    """A coarser volume, and where its blocks lie on the grid it was made from.

    Attributes:
        values: Mean of each block, float32, shape (I, J, K).
        centres: Index of the middle of each block on the finer grid, for I, J and K in turn; the
            last block of an axis may be thinner than the others.
    """

    values: FloatArray
    centres: tuple[FloatArray, FloatArray, FloatArray]


def block_sizes(
    grid_size: GridSize, spacing_mm: SpacingMm, *, most_voxels: int, most_along: int = 1 << 31
) -> GridSize:
    """How many voxels to join along each axis, so that blocks are near cubes and few enough.

    Args:
        grid_size: Of the finer grid.
        spacing_mm: Of the finer grid.
        most_voxels: Of the coarser grid, at most.
        most_along: Of any of its axes, at most.
    """
    i, j, k = (-(-size // most_along) for size in grid_size)
    while _count(grid_size, (i, j, k)) > most_voxels:
        lengths = (i * spacing_mm[0], j * spacing_mm[1], k * spacing_mm[2])
        joinable = [axis for axis in range(3) if (i, j, k)[axis] < grid_size[axis]]
        shortest = min(joinable, key=lambda axis: lengths[axis])
        i, j, k = i + (shortest == 0), j + (shortest == 1), k + (shortest == 2)
    return i, j, k


def block_means(array: AnyArray, sizes: GridSize) -> Blocks:
    """Means of blocks of voxels.

    Args:
        array: Numbers, shape (I, J, K).
        sizes: Voxels of a block along each axis; the last block takes what is left.
    """
    values = array
    centres = []
    for axis, (size, step) in enumerate(zip(array.shape, sizes, strict=True)):
        first = np.arange(0, size, step)
        counts = np.minimum(step, size - first)
        if step > 1:
            shape = [1, 1, 1]
            shape[axis] = -1
            values = np.add.reduceat(values, first, axis=axis, dtype=np.float32)
            values /= counts.reshape(shape)
        centres.append(first + (counts - 1) / 2)
    return Blocks(values.astype(np.float32, copy=False), (centres[0], centres[1], centres[2]))


def _count(grid_size: GridSize, sizes: GridSize) -> int:
    i, j, k = (-(-size // step) for size, step in zip(grid_size, sizes, strict=True))
    return i * j * k
