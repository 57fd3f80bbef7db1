"""One interpolation for all that moves voxels: the compiled loops under `augment`.

Source positions are those of an affine map plus a smooth shift by cubic B-splines, both in voxels
of the source. The image is interpolated linearly; each label gets the linear weights of its voxels
and the heaviest wins, so that structures keep smooth outlines. Plain Python twins are in the tests.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from medseg.compiled import compiled_fast
from medseg.types import AnyArray, IntArray

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Corner = tuple[int, int, int]
Fractions = tuple[np.float32, np.float32, np.float32]

ORDER = 3
"""Of the B-splines: shift and bend are continuous."""


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


@compiled_fast
def heaviest(values: IntArray, weights: Float64) -> int:
    """Where the value with the largest sum of weights is first found; the weights sum to 1."""
    best, best_weight = 0, -1.0
    for n in range(len(values)):
        weight = 0.0
        for m in range(len(values)):
            if values[m] == values[n]:
                weight += weights[m]
        if weight > 0.5 + 1e-9:
            return n
        if weight > best_weight + 1e-9:
            best, best_weight = n, weight
    return best


@compiled_fast
def bend_of_line(
    knots: Float32, shares_i: Float32, shares_j: Float32, i: int, j: int, bend: Float64
) -> None:
    """Fill `bend`, shape (3, c), with the knots along K that belong to the line (i, j)."""
    for axis in range(3):
        for c in range(knots.shape[3]):
            bend[axis, c] = 0
            for a in range(knots.shape[1]):
                for b in range(knots.shape[2]):
                    bend[axis, c] += shares_i[i, a] * shares_j[j, b] * knots[axis, a, b, c]


@compiled_fast
def linear(image: Float32, channel: int, corner: Corner, fractions: Fractions) -> float:
    """Linear interpolation in a cube of eight voxels.

    Args:
        image: Shape (C, i, j, k).
        channel: Which one.
        corner: The cube's first voxel along I, J, K.
        fractions: Place in the cube along I, J, K, each 0 to 1.
    """
    p, q, r = corner
    x, y, z = fractions
    a, b = image[channel, p, q, r], image[channel, p, q, r + 1]
    c, d = image[channel, p, q + 1, r], image[channel, p, q + 1, r + 1]
    near = (1 - y) * (a + z * (b - a)) + y * (c + z * (d - c))
    a, b = image[channel, p + 1, q, r], image[channel, p + 1, q, r + 1]
    c, d = image[channel, p + 1, q + 1, r], image[channel, p + 1, q + 1, r + 1]
    far = (1 - y) * (a + z * (b - a)) + y * (c + z * (d - c))
    value: float = (1 - x) * near + x * far
    return value


@compiled_fast
def is_even(labels: IntArray, corner: Corner) -> bool:
    """Whether the eight voxels of the cube have one label."""
    p, q, r = corner
    first = labels[p, q, r]
    same: bool = first == labels[p, q, r + 1]
    same &= first == labels[p, q + 1, r]
    same &= first == labels[p, q + 1, r + 1]
    same &= first == labels[p + 1, q, r]
    same &= first == labels[p + 1, q, r + 1]
    same &= first == labels[p + 1, q + 1, r]
    same &= first == labels[p + 1, q + 1, r + 1]
    return same


@compiled_fast
def vote(
    labels: IntArray, corner: Corner, fractions: Fractions, values: IntArray, weights: Float64
) -> int:
    """The label with the largest linear weight in the cube.

    `values` and `weights` are room for eight of each.
    """
    for n in range(8):
        p, q, r = n >> 2, (n >> 1) & 1, n & 1
        values[n] = labels[corner[0] + p, corner[1] + q, corner[2] + r]
        x = fractions[0] if p else 1 - fractions[0]
        y = fractions[1] if q else 1 - fractions[1]
        weights[n] = x * y * (fractions[2] if r else 1 - fractions[2])
    winner: int = values[heaviest(values, weights)]
    return winner


@compiled_fast
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
        image: Source, contiguous, shape (C, i, j, k), each axis of at least two voxels.
        labels: Source, contiguous, shape (i, j, k).
        matrix: Output voxels to source voxels, shape (3, 3).
        centre: Source position of the middle of the output.
        knots: Shift at the knots in source voxels, shape (3, a, b, c); a = b = c = 0 for none.
        splines: Share of each knot along I, J, K, shapes (I, a), (J, b), (K, c).
        out_image: Filled, shape (C, I, J, K).
        out_labels: Filled, shape (I, J, K).
    """
    last = labels.shape[0] - 2, labels.shape[1] - 2, labels.shape[2] - 2
    values, weights = np.empty(8, dtype=labels.dtype), np.empty(8)
    bend, (shares_i, shares_j, shares_k) = np.empty((3, knots.shape[3])), splines
    size_i, size_j, size_k = out_labels.shape
    for i in range(size_i):
        for j in range(size_j):
            bend_of_line(knots, shares_i, shares_j, i, j, bend)
            oi, oj = i - (size_i - 1) / 2, j - (size_j - 1) / 2
            line_x = matrix[0, 0] * oi + matrix[0, 1] * oj + centre[0]
            line_y = matrix[1, 0] * oi + matrix[1, 1] * oj + centre[1]
            line_z = matrix[2, 0] * oi + matrix[2, 1] * oj + centre[2]
            for k in range(size_k):
                ok = k - (size_k - 1) / 2
                x = line_x + matrix[0, 2] * ok
                y = line_y + matrix[1, 2] * ok
                z = line_z + matrix[2, 2] * ok
                for c in range(knots.shape[3]):
                    x += shares_k[k, c] * bend[0, c]
                    y += shares_k[k, c] * bend[1, c]
                    z += shares_k[k, c] * bend[2, c]
                p = max(min(int(x), last[0]), 0)
                q = max(min(int(y), last[1]), 0)
                r = max(min(int(z), last[2]), 0)
                corner = p, q, r
                fractions = np.float32(x - p), np.float32(y - q), np.float32(z - r)
                for channel in range(len(image)):
                    out_image[channel, i, j, k] = linear(image, channel, corner, fractions)
                if is_even(labels, corner):
                    out_labels[i, j, k] = labels[p, q, r]
                else:
                    out_labels[i, j, k] = vote(labels, corner, fractions, values, weights)


@compiled_fast
def vote_in_plane(
    labels: IntArray,
    corner: Corner,
    fractions: tuple[np.float32, np.float32],
    values: IntArray,
    weights: Float64,
) -> int:
    """As `vote`, in a square of four voxels of one slice."""
    x, y = fractions
    for n in range(4):
        p, q = n >> 1, n & 1
        values[n] = labels[corner[0] + p, corner[1] + q, corner[2]]
        weights[n] = (x if p else 1 - x) * (y if q else 1 - y)
    winner: int = values[heaviest(values, weights)]
    return winner


@compiled_fast
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
    values, weights = np.empty(4, dtype=labels.dtype), np.empty(4)
    shares_i, shares_j, _ = splines
    for i in range(size_i):
        for j in range(size_j):
            oi, oj = i - (size_i - 1) / 2, j - (size_j - 1) / 2
            x = matrix[0, 0] * oi + matrix[0, 1] * oj + centre[0]
            y = matrix[1, 0] * oi + matrix[1, 1] * oj + centre[1]
            for a in range(knots.shape[1]):
                for b in range(knots.shape[2]):
                    share = shares_i[i, a] * shares_j[j, b]
                    x += share * knots[0, a, b, 0]
                    y += share * knots[1, a, b, 0]
            p, q = max(min(int(x), last_i), 0), max(min(int(y), last_j), 0)
            fx, fy = np.float32(x - p), np.float32(y - q)
            for k in range(size_k):
                r = size_k - 1 - k if matrix[2, 2] < 0 else k
                for channel in range(len(image)):
                    low, high = image[channel, p, q, r], image[channel, p, q + 1, r]
                    near = low + fy * (high - low)
                    low, high = image[channel, p + 1, q, r], image[channel, p + 1, q + 1, r]
                    far = low + fy * (high - low)
                    out_image[channel, i, j, k] = (1 - fx) * near + fx * far
                first = labels[p, q, r]
                same = first == labels[p, q + 1, r]
                same &= first == labels[p + 1, q, r]
                same &= first == labels[p + 1, q + 1, r]
                if not same:
                    first = vote_in_plane(labels, (p, q, r), (fx, fy), values, weights)
                out_labels[i, j, k] = first


@compiled_fast
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
