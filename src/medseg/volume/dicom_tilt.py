"""Series of a tilted gantry: slices shifted in their own plane, put upright and back again.

The planes of the upright grid are those of the slices, so nothing is computed across slices: each
one is moved within its plane by its true shift (a shear of the volume), linearly interpolated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.errors import TiltedSeries
from medseg.types import AnyArray, IntArray
from medseg.volume.dicom_spacing import ROUNDING_MM

SHEAR_TOLERANCE = 1e-3
"""Largest shift in the plane for each millimetre along the normal: 0.06 degrees of tilt."""

LARGEST_TILT_DEGREES = 45.0
"""Gantries tilt by up to 30 degrees; more is no tilt but another order of slices."""


@dataclass(frozen=True, eq=False)
class Tilt:
    """How slices are shifted in their plane.

    Attributes:
        degrees: Angle of the tilt; 0 for an upright series.
        offsets: Upright index (i, j) of the first pixel of each slice, shape (S, 2), none negative.
        size: Voxels of the upright grid along I and J, which holds all slices.
    """

    degrees: float
    offsets: npt.NDArray[np.float64]
    size: tuple[int, int]


def find_tilt(
    in_plane_mm: npt.NDArray[np.float64],
    along_mm: npt.NDArray[np.float64],
    *,
    spacing_mm: tuple[float, float],
    size: tuple[int, int],
) -> Tilt:
    """Tell a tilt from the positions of slices.

    Args:
        in_plane_mm: First pixel of each slice relative to the first slice, along I and J, (S, 2).
        along_mm: The same along the normal, ascending from 0, shape (S,).
        spacing_mm: Distance of pixels along I and J.
        size: Pixels of a slice along I and J.

    Raises:
        TiltedSeries: If the shifts do not grow evenly from slice to slice, or the angle is larger
            than that of any gantry.
    """
    upright = Tilt(0.0, np.zeros((len(along_mm), 2)), size)
    shift_mm = np.linalg.norm(in_plane_mm, axis=1)
    step = min(spacing_mm)
    if (shift_mm <= ROUNDING_MM + SHEAR_TOLERANCE * np.maximum(along_mm, step)).all():
        return upright
    slope = in_plane_mm.T @ along_mm / (along_mm @ along_mm)
    degrees = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    off_mm = np.linalg.norm(in_plane_mm - np.outer(along_mm, slope), axis=1)
    allowed_mm = 2 * ROUNDING_MM + SHEAR_TOLERANCE * np.maximum(along_mm, step)
    if (off_mm > allowed_mm).any():
        raise TiltedSeries(
            "Slices of a volume lie above each other, or evenly shifted by a tilted gantry.",
            received=f"slices that are up to {off_mm.max():.2f} mm beside their line",
            cure="Put each acquisition in a folder of its own, or export the original series.",
        )
    if degrees > LARGEST_TILT_DEGREES:
        raise TiltedSeries(
            f"A gantry tilts by up to {LARGEST_TILT_DEGREES:g} degrees.",
            received=f"slices shifted in their plane by {degrees:.1f} degrees",
            cure="Export the original series.",
        )
    offsets = np.outer(along_mm, slope / np.array(spacing_mm))
    offsets -= np.minimum(np.floor(offsets.min(axis=0) + 1e-6), 0)
    i, j = (int(n) for n in np.ceil(offsets.max(axis=0) - 1e-6))
    return Tilt(degrees, offsets, (size[0] + i, size[1] + j))


def put_upright(array: AnyArray, tilt: Tilt) -> AnyArray:
    """Move slices to where they lie in the patient.

    Args:
        array: Slices, shape (I, J, S).
        tilt: How they are shifted.

    Returns:
        The same type on the upright grid; what no slice holds gets the smallest value of all.
    """
    if not tilt.degrees:
        return array
    outside, whole = float(array.min()), array.dtype.kind in "iu"
    upright = np.empty((*tilt.size, array.shape[2]), dtype=array.dtype)
    for n, (offset_i, offset_j) in enumerate(tilt.offsets):
        moved = _on_grid(array[:, :, n], tilt.size, (-offset_i, -offset_j), 1, outside)
        upright[:, :, n] = np.rint(moved) if whole else moved
    return upright


def put_back(array: IntArray, tilt: Tilt, size: tuple[int, int]) -> IntArray:
    """Label values of an upright grid on the pixels of the slices: the nearest voxel's.

    Args:
        array: Values on the upright grid, shape (I, J, S).
        tilt: How the slices are shifted.
        size: Pixels of a slice along I and J.
    """
    if not tilt.degrees:
        return array
    slices = np.zeros((*size, array.shape[2]), dtype=array.dtype)
    for n, (offset_i, offset_j) in enumerate(tilt.offsets):
        slices[:, :, n] = _on_grid(array[:, :, n], size, (offset_i, offset_j), 0, 0.0)
    return slices


def _on_grid(
    plane: AnyArray,
    size: tuple[int, int],
    offset: tuple[float, float],
    order: int,
    outside: float,
) -> AnyArray:
    """A plane (I, J) at positions (i + offset_i, j + offset_j) of a grid of `size`."""
    kind = np.float64 if order else plane.dtype
    call: Callable[..., AnyArray] = ndimage.affine_transform
    edge = "grid-constant" if order == 0 else "constant"
    return call(plane.astype(kind), np.ones(2), offset, size, order=order, mode=edge, cval=outside)
