"""One interpolation for all that moves voxels: the compiled loops under `augment`.

Source positions are those of an affine map plus a smooth shift by cubic B-splines, both in voxels
of the source. The image is interpolated linearly; each label gets the linear weights of its voxels
and the heaviest wins, so that structures keep smooth outlines. Plain Python twins are in the tests.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import numba
import numpy as np
import numpy.typing as npt

from medseg.types import AnyArray, IntArray

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

ORDER = 3
"""Of the B-splines: shift and bend are continuous."""


def compiled(function: FunctionT) -> FunctionT:
    """Compile at the first call, keep the machine code on disk, and let other threads run."""
    machine: FunctionT = numba.njit(cache=True, nogil=True, fastmath=True)(function)
    return machine


@lru_cache(maxsize=64)
def spline_weights(size: int, knots: int) -> Float32:
    """Share of each knot at each voxel, shape (size, knots); rows are >= 0 and sum to 1.

    Args:
        size: Voxels along the axis.
        knots: Control points along the axis: at least 4, or 1 (a constant) or 0.

    Source:
        Rueckert et al., IEEE TMI 18(8), 1999: free-form deformation.
    """
    weights = np.ones((size, knots), dtype=np.float32)
    if knots > ORDER:
        weights[:] = 0
        position = np.linspace(0, knots - ORDER, size)
        first = np.minimum(position.astype(int), knots - ORDER - 1)
        t = position - first
        pieces = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        for n, piece in enumerate(pieces):
            weights[np.arange(size), first + n] = piece / 6
    weights.flags.writeable = False
    return weights


@compiled
def heaviest(values: IntArray, weights: Float64, count: int) -> int:
    """Where the value with the largest sum of weights is first found, among the first `count`."""
    best, best_weight = 0, -1.0
    for n in range(count):
        weight = 0.0
        for m in range(count):
            if values[m] == values[n]:
                weight += weights[m]
        if weight > best_weight + 1e-9:
            best, best_weight = n, weight
    return best


@compiled
def warp_volume(
    image: Float32,
    labels: IntArray,
    matrix: Float64,
    centre: Float64,
    knots: Float32,
    splines: tuple[Float32, Float32, Float32],
    out_image: Float32,
    out_labels: IntArray,
) -> None:
    """Fill the outputs from positions matrix @ (voxel - middle of output) + centre + shift.

    Args:
        image: Source, shape (C, i, j, k), each axis of at least two voxels.
        labels: Source, shape (i, j, k).
        matrix: Output voxels to source voxels, shape (3, 3).
        centre: Source position of the middle of the output.
        knots: Shift at the knots in source voxels, shape (3, a, b, c); a = b = c = 0 for none.
        splines: Share of each knot along I, J, K, shapes (I, a), (J, b), (K, c).
        out_image: Filled, shape (C, I, J, K).
        out_labels: Filled, shape (I, J, K).
    """
    size_i, size_j, size_k = out_labels.shape
    last_i, last_j, last_k = labels.shape[0] - 2, labels.shape[1] - 2, labels.shape[2] - 2
    spline_i, spline_j, spline_k = splines
    bend = np.zeros((3, knots.shape[3]), dtype=np.float64)
    weights, found = np.empty(8), np.empty(8, dtype=labels.dtype)
    for i in range(size_i):
        oi = i - (size_i - 1) / 2
        for j in range(size_j):
            oj = j - (size_j - 1) / 2
            bend[:] = 0
            for axis in range(3):
                for a in range(knots.shape[1]):
                    for b in range(knots.shape[2]):
                        share = spline_i[i, a] * spline_j[j, b]
                        for c in range(knots.shape[3]):
                            bend[axis, c] += share * knots[axis, a, b, c]
            for k in range(size_k):
                ok = k - (size_k - 1) / 2
                x = matrix[0, 0] * oi + matrix[0, 1] * oj + matrix[0, 2] * ok + centre[0]
                y = matrix[1, 0] * oi + matrix[1, 1] * oj + matrix[1, 2] * ok + centre[1]
                z = matrix[2, 0] * oi + matrix[2, 1] * oj + matrix[2, 2] * ok + centre[2]
                for c in range(knots.shape[3]):
                    x += spline_k[k, c] * bend[0, c]
                    y += spline_k[k, c] * bend[1, c]
                    z += spline_k[k, c] * bend[2, c]
                p = min(max(int(x), 0), last_i)
                q = min(max(int(y), 0), last_j)
                r = min(max(int(z), 0), last_k)
                fx, fy, fz = x - p, y - q, z - r
                weights[0] = (1 - fx) * (1 - fy) * (1 - fz)
                weights[1] = (1 - fx) * (1 - fy) * fz
                weights[2] = (1 - fx) * fy * (1 - fz)
                weights[3] = (1 - fx) * fy * fz
                weights[4] = fx * (1 - fy) * (1 - fz)
                weights[5] = fx * (1 - fy) * fz
                weights[6] = fx * fy * (1 - fz)
                weights[7] = fx * fy * fz
                for channel in range(image.shape[0]):
                    out_image[channel, i, j, k] = (
                        weights[0] * image[channel, p, q, r]
                        + weights[1] * image[channel, p, q, r + 1]
                        + weights[2] * image[channel, p, q + 1, r]
                        + weights[3] * image[channel, p, q + 1, r + 1]
                        + weights[4] * image[channel, p + 1, q, r]
                        + weights[5] * image[channel, p + 1, q, r + 1]
                        + weights[6] * image[channel, p + 1, q + 1, r]
                        + weights[7] * image[channel, p + 1, q + 1, r + 1]
                    )
                found[0] = labels[p, q, r]
                found[1] = labels[p, q, r + 1]
                found[2] = labels[p, q + 1, r]
                found[3] = labels[p, q + 1, r + 1]
                found[4] = labels[p + 1, q, r]
                found[5] = labels[p + 1, q, r + 1]
                found[6] = labels[p + 1, q + 1, r]
                found[7] = labels[p + 1, q + 1, r + 1]
                same = True
                for n in range(1, 8):
                    same &= found[n] == found[0]
                out_labels[i, j, k] = found[0] if same else found[heaviest(found, weights, 8)]


@compiled
def warp_plane(
    image: Float32,
    labels: IntArray,
    matrix: Float64,
    centre: Float64,
    knots: Float32,
    splines: tuple[Float32, Float32, Float32],
    out_image: Float32,
    out_labels: IntArray,
) -> None:
    """As `warp_volume`, the same for each slice along K and without interpolation between them.

    Arguments are the same, K has as many slices in the source as in the output, and `knots` has
    the shape (3, a, b, 1). K of the output runs backwards where matrix[2, 2] is negative.
    """
    size_i, size_j, size_k = out_labels.shape
    last_i, last_j = labels.shape[0] - 2, labels.shape[1] - 2
    spline_i, spline_j, _ = splines
    weights, found = np.empty(4), np.empty(4, dtype=labels.dtype)
    for i in range(size_i):
        oi = i - (size_i - 1) / 2
        for j in range(size_j):
            oj = j - (size_j - 1) / 2
            x = matrix[0, 0] * oi + matrix[0, 1] * oj + centre[0]
            y = matrix[1, 0] * oi + matrix[1, 1] * oj + centre[1]
            for a in range(knots.shape[1]):
                for b in range(knots.shape[2]):
                    share = spline_i[i, a] * spline_j[j, b]
                    x += share * knots[0, a, b, 0]
                    y += share * knots[1, a, b, 0]
            p, q = min(max(int(x), 0), last_i), min(max(int(y), 0), last_j)
            fx, fy = x - p, y - q
            weights[0], weights[1] = (1 - fx) * (1 - fy), (1 - fx) * fy
            weights[2], weights[3] = fx * (1 - fy), fx * fy
            for k in range(size_k):
                r = size_k - 1 - k if matrix[2, 2] < 0 else k
                for channel in range(image.shape[0]):
                    out_image[channel, i, j, k] = (
                        weights[0] * image[channel, p, q, r]
                        + weights[1] * image[channel, p, q + 1, r]
                        + weights[2] * image[channel, p + 1, q, r]
                        + weights[3] * image[channel, p + 1, q + 1, r]
                    )
                found[0], found[1] = labels[p, q, r], labels[p, q + 1, r]
                found[2], found[3] = labels[p + 1, q, r], labels[p + 1, q + 1, r]
                same = found[0] == found[1] and found[0] == found[2] and found[0] == found[3]
                out_labels[i, j, k] = found[0] if same else found[heaviest(found, weights, 4)]


@compiled
def along_axes(
    image: Float32, taps: tuple[AnyArray, AnyArray, AnyArray], shares: tuple[Float32, ...]
) -> Float32:
    """A linear map along each of three axes in turn: blurring, or resolution lost and regained.

    Args:
        image: Shape (I, J, K).
        taps: For each axis, which voxels make up a voxel, shape (t, size).
        shares: For each axis, their weights, shape (t, size).

    Returns:
        A new image, shape (I, J, K).
    """
    size_i, size_j, size_k = image.shape
    first, second = np.empty_like(image), np.empty_like(image)
    for i in range(size_i):
        for j in range(size_j):
            for k in range(size_k):
                total = np.float32(0)
                for t in range(taps[2].shape[0]):
                    total += shares[2][t, k] * image[i, j, taps[2][t, k]]
                first[i, j, k] = total
        second[i] = 0
        for j in range(size_j):
            for t in range(taps[1].shape[0]):
                source, share = first[i, taps[1][t, j]], shares[1][t, j]
                for k in range(size_k):
                    second[i, j, k] += share * source[k]
    first[:] = 0
    for i in range(size_i):
        for t in range(taps[0].shape[0]):
            source_plane, share = second[taps[0][t, i]], shares[0][t, i]
            for j in range(size_j):
                for k in range(size_k):
                    first[i, j, k] += share * source_plane[j, k]
    return first
