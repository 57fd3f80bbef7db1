"""Small numpy words used everywhere. Axes are always I, J, K: voxel index order, no torch."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

SpacingMm: TypeAlias = tuple[float, float, float]
"""Distance between voxel centres along I, J, K, in millimetres."""

GridSize: TypeAlias = tuple[int, int, int]
"""Number of voxels along I, J, K; a 2D image has K = 1."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""True where the structure is, shape (I, J, K)."""

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
"""Any floating array; the docstring says which shape."""

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
"""Any integer array; the docstring says which shape."""

AnyArray: TypeAlias = npt.NDArray[Any]
"""Any numeric array; the docstring says which shape."""
