"""Which voxels an interpolated value is made of, along one axis.

Linear, cubic and nearest interpolation and the smoothing before shrinking are all sums over
neighbours, and along aligned axes they part into three sums over lines. So each axis has one table
of neighbours and weights, and one kernel serves all of them.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.space.image_kernels import GAIN

Interpolation = Literal["linear", "cubic", "nearest"]

FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
"""Full width at half maximum of a Gaussian, in standard deviations."""


class Taps(NamedTuple):
    """The neighbours along one axis.

    Attributes:
        voxel: Index of each neighbour in the source, shape (n, T).
        weight: Their weights, shape (n, T), summing to 1; to `GAIN` for coefficients.
        spline: Whether the weights are for B-spline coefficients instead of voxel values.
    """

    voxel: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    spline: bool

    def as_pairs(self) -> "Taps":
        """The same with a second neighbour of no weight where there is one only."""
        if self.voxel.shape[1] == 2:
            return self
        weight = np.hstack([self.weight, np.zeros_like(self.weight)])
        return Taps(np.hstack([self.voxel, self.voxel]), weight, self.spline)


def smoothing(shrink: float) -> float:
    """Width of the Gaussian that keeps detail too fine for a coarser grid from aliasing.

    It widens a voxel's point spread (a Gaussian with the voxel's length as full width at half
    maximum) to that of the coarser voxel.

    Args:
        shrink: Source voxels that one target voxel spans.

    Returns:
        Standard deviation in source voxels; 0.0 when nothing shrinks.

    Source:
        Cardoso et al., Scale factor point spread function matching, MICCAI 2015.
    """
    return float(np.sqrt(shrink**2 - 1) / FWHM) if shrink > 1 + 1e-6 else 0.0


def interpolating(
    positions: npt.NDArray[np.float64],
    size: int,
    interpolation: Interpolation,
    *,
    upwards: bool,
    sigma: float,
) -> Taps:
    """Taps that give the value at each position; beyond the outermost centres the value stays.

    Args:
        positions: In voxels of the source, shape (n,).
        size: Voxels of the source along this axis.
        interpolation: How. A position half way between two voxels is nearest to the upper one
            if `upwards`.
        upwards: Whether the axis runs towards R, A or S.
        sigma: Standard deviation of the smoothing before, in voxels; 0.0 for none.
    """
    at = np.clip(positions, 0, size - 1)
    if interpolation == "nearest":
        at = np.floor(at + 0.5) if upwards else np.ceil(at - 0.5)
    low = np.floor(at).astype(np.int64)
    part = (at - low)[:, None]
    if not part.any() and not sigma:
        return Taps(low[:, None].astype(np.int32), np.ones((len(low), 1), np.float32), False)
    if interpolation == "cubic":
        return _folded(low - 1, _cubic(part), size, sigma, spline=size > 1)
    return _folded(low, np.hstack([1 - part, part]), size, sigma, spline=False)


def filtering(size: int, *, cubic: bool, sigma: float) -> Taps:
    """Taps that smooth a line in its place, into B-spline coefficients if `cubic`."""
    low = np.arange(size)
    return _folded(low, np.ones((size, 1)), size, sigma, spline=cubic and size > 1)


def _cubic(part: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of the four B-spline coefficients around a position, shape (n, 4)."""
    rest = 1 - part
    return np.hstack(
        [
            rest**3 / 6,
            2 / 3 - part**2 * (2 - part) / 2,
            2 / 3 - rest**2 * (2 - rest) / 2,
            part**3 / 6,
        ]
    )


def _folded(
    low: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    size: int,
    sigma: float,
    *,
    spline: bool,
) -> Taps:
    """Taps of a Gaussian and then `weight` from voxel `low` on, mirrored at the outer centres."""
    reach = int(np.ceil(3 * sigma))
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2) if sigma else np.ones(1)
    bell /= bell.sum()
    count = weight.shape[1]
    wide = np.zeros((len(low), count + 2 * reach))
    for n in range(count):
        wide[:, n : n + len(bell)] += weight[:, n : n + 1] * bell
    if spline:
        wide *= GAIN
    index = low[:, None] - reach + np.arange(wide.shape[1])
    return Taps(_mirrored(index, size).astype(np.int32), wide.astype(np.float32), spline)


def _mirrored(index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Indices beyond an end, counted back from it: -1 is 1; the end itself is not repeated."""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)
