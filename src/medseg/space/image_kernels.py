# mypy: disable-error-code="no-untyped-def"
"""Compiled loops that interpolate images.

Plain loops in numba, compiled at the first call (a second for linear, six for cubic) and
then kept on disk (`medseg.compiled`). They release the interpreter lock and run on one core:
callers have cases to spread over the others. Sums may be reordered; NaN and infinity stay.
"""

import numpy as np

from medseg.compiled import compiled, compiled_fast

POLE = np.sqrt(3.0) - 2.0
"""Pole of the cubic B-spline's inverse filter."""

GAIN = 6.0
"""Its gain, (1 - POLE) * (1 - 1 / POLE); left to the weights that follow."""

HORIZON = 16
"""Voxels after which the filter has forgotten an end: POLE**16 is below float32's resolution."""

STRIP = 256
"""Columns filtered at once; a strip of 512 rows stays in a core's own cache."""

LANES = 16
"""Rows filtered side by side: one vector register of float32."""


@compiled_fast
def _filter_columns(values, start, out):
    """Values -> coefficients of the interpolating cubic B-spline, divided by `GAIN`.

    Mirrored at the first and the last row.

    Args:
        values: Rows of values, (n, m), n > 1.
        start: First column to filter.
        out: Takes the coefficients of the columns from `start` on, (n, w); may be `values` itself.

    Source:
        Unser, Splines: a perfect fit for signal and image processing, IEEE SPM 16(6), 1999.
    """
    n, width = values.shape[0], min(out.shape[1], values.shape[1] - start)
    pole, end = np.float32(POLE), np.float32(POLE / (POLE * POLE - 1.0))
    first = np.zeros(width, np.float32)
    for r in range(min(n, HORIZON)):
        share = np.float32(_share_of_start(r, n))
        for k in range(width):
            first[k] += share * values[r, start + k]
    out[0, :width] = first
    for r in range(1, n):
        for k in range(width):
            out[r, k] = values[r, start + k] + pole * out[r - 1, k]
    for k in range(width):
        out[n - 1, k] = end * (out[n - 1, k] + pole * out[n - 2, k])
    for r in range(n - 2, -1, -1):
        for k in range(width):
            out[r, k] = pole * (out[r + 1, k] - out[r, k])


@compiled
def _share_of_start(r, n):
    """Share of row `r` of `n` in what all mirrored rows above the first would have left there."""
    if n > HORIZON:
        return POLE**r
    twice = POLE ** (2 * n - 2 - r) if 0 < r < n - 1 else 0.0
    return (POLE**r + twice) / (1.0 - POLE ** (2 * n - 2))


@compiled_fast
def filter_first_axis(source, out):
    """B-spline coefficients, divided by `GAIN`, along the first of two axes; shapes (n, m)."""
    n, m = source.shape
    strip = np.empty((n, STRIP), np.float32)
    for start in range(0, m, STRIP):
        _filter_columns(source, start, strip)
        for r in range(n):
            for k in range(min(STRIP, m - start)):
                out[r, start + k] = strip[r, k]


@compiled_fast
def _mix(rows, index, weight, out):
    """The weighted sum of some rows."""
    taps, m = index.size, out.size
    a, wa = rows[index[0]], weight[0]
    for k in range(m):
        out[k] = wa * a[k]
    for t in range(1, taps - 2, 3):
        a, b, c = rows[index[t]], rows[index[t + 1]], rows[index[t + 2]]
        wa, wb, wc = weight[t], weight[t + 1], weight[t + 2]
        for k in range(m):
            out[k] += wa * a[k] + wb * b[k] + wc * c[k]
    for t in range(taps - (taps - 1) % 3, taps):
        a, wa = rows[index[t]], weight[t]
        for k in range(m):
            out[k] += wa * a[k]


@compiled_fast
def _mix_lanes(before, index, weight, after):
    """As `_mix` for many outputs of LANES columns; the fixed width makes each row one register."""
    taps = index.shape[1]
    for k in range(index.shape[0]):
        a, wa = index[k, 0], weight[k, 0]
        for lane in range(LANES):
            after[k, lane] = wa * before[a, lane]
        for t in range(1, taps - 2, 3):
            a, b, c = index[k, t], index[k, t + 1], index[k, t + 2]
            wa, wb, wc = weight[k, t], weight[k, t + 1], weight[k, t + 2]
            for lane in range(LANES):
                after[k, lane] += wa * before[a, lane] + wb * before[b, lane] + wc * before[c, lane]
        for t in range(taps - (taps - 1) % 3, taps):
            a, wa = index[k, t], weight[k, t]
            for lane in range(LANES):
                after[k, lane] += wa * before[a, lane]


@compiled_fast
def blend_aligned(source, index, weight, spline, out):
    """Each voxel as a sum of sums of sums of its neighbours along the three axes.

    Args:
        source: Voxels (I, J, K); coefficients along I if the taps there ask for them.
        index: Neighbours along I, J, K, three of (i, T), (j, T), (k, T).
        weight: Their weights, the same shapes.
        spline: Whether to filter along J and along K before.
        out: Takes the result, (i, j, k).
    """
    n0, n1, n2 = source.shape
    m0, m1, m2 = out.shape
    index0, index1, index2 = index
    weight0, weight1, weight2 = weight
    planes = source.reshape(n0, n1 * n2)
    plane = np.empty((n1, n2), np.float32)
    flat = plane.reshape(n1 * n2)
    row = np.empty(n2, np.float32)
    before = np.zeros((n2, LANES), np.float32)
    after = np.empty((m2, LANES), np.float32)
    for i in range(m0):
        _mix(planes, index0[i], weight0[i], flat)
        if spline[0]:
            _filter_columns(plane, 0, plane)
        for j in range(0, m1, LANES):
            width = min(LANES, m1 - j)
            for lane in range(width):
                _mix(plane, index1[j + lane], weight1[j + lane], row)
                for k in range(n2):
                    before[k, lane] = row[k]
            if spline[1]:
                _filter_columns(before, 0, before)
            _mix_lanes(before, index2, weight2, after)
            for lane in range(width):
                for k in range(m2):
                    out[i, j + lane, k] = after[k, lane]


@compiled_fast
def linear_aligned(source, index, weight, out):
    """As `blend_aligned` with two neighbours along each axis, faster.

    Args:
        source: Voxels (I, J, K).
        index: Neighbours along I, J, K, three of (i, 2), (j, 2), (k, 2).
        weight: Their weights, the same shapes, each pair summing to 1.
        out: Takes the result, (i, j, k).
    """
    index0, index1, index2 = index
    weight0, weight1, weight2 = weight
    n2 = source.shape[2]
    m0, m1, m2 = out.shape
    row = np.empty(n2, np.float32)
    low, high, part = index2[:, 0].copy(), index2[:, 1].copy(), weight2[:, 1].copy()
    for i in range(m0):
        p, q = source[index0[i, 0]], source[index0[i, 1]]
        for j in range(m1):
            a, b = p[index1[j, 0]], p[index1[j, 1]]
            c, d = q[index1[j, 0]], q[index1[j, 1]]
            wa, wb = weight0[i, 0] * weight1[j, 0], weight0[i, 0] * weight1[j, 1]
            wc, wd = weight0[i, 1] * weight1[j, 0], weight0[i, 1] * weight1[j, 1]
            for k in range(n2):
                row[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]
            for k in range(m2):
                value = row[low[k]]
                out[i, j, k] = value + part[k] * (row[high[k]] - value)


@compiled
def _place(row, i, j, k, step, size):
    """Position along one axis, held between the outer centres, and whether it is in the image."""
    at = np.round((row[0] * i + row[1] * j + row[2] * k + row[3]) / step) * step
    inside = at >= -0.5 and at <= size - 0.5
    return min(max(at, 0.0), size - 1.0), inside


@compiled
def nearest_rotated(source, matrix, step, upwards, fill, out):
    """The nearest voxel of each place on any grid; the upper one half way if `upwards`.

    Args:
        source: Voxels (I, J, K).
        matrix: Index on `out` -> index on `source`, (4, 4).
        step: Positions are rounded to multiples of this.
        upwards: Along each axis, which of two equally near voxels is taken.
        fill: Value outside.
        out: Takes the result, (i, j, k).
    """
    n0, n1, n2 = source.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, in0 = _place(matrix[0], i, j, k, step, n0)
                y, in1 = _place(matrix[1], i, j, k, step, n1)
                z, in2 = _place(matrix[2], i, j, k, step, n2)
                if in0 and in1 and in2:
                    a = np.floor(x + 0.5) if upwards[0] else np.ceil(x - 0.5)
                    b = np.floor(y + 0.5) if upwards[1] else np.ceil(y - 0.5)
                    c = np.floor(z + 0.5) if upwards[2] else np.ceil(z - 0.5)
                    out[i, j, k] = source[int(a), int(b), int(c)]
                else:
                    out[i, j, k] = fill


@compiled_fast
def linear_rotated(source, matrix, step, fill, out):
    """Trilinear values on any grid; arguments as in `nearest_rotated`."""
    n0, n1, n2 = source.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, in0 = _place(matrix[0], i, j, k, step, n0)
                y, in1 = _place(matrix[1], i, j, k, step, n1)
                z, in2 = _place(matrix[2], i, j, k, step, n2)
                if not (in0 and in1 and in2):
                    out[i, j, k] = fill
                    continue
                a0, b0, c0 = int(x), int(y), int(z)
                a1, b1, c1 = min(a0 + 1, n0 - 1), min(b0 + 1, n1 - 1), min(c0 + 1, n2 - 1)
                u, v, w = np.float32(x - a0), np.float32(y - b0), np.float32(z - c0)
                s00 = source[a0, b0, c0] + w * (source[a0, b0, c1] - source[a0, b0, c0])
                s01 = source[a0, b1, c0] + w * (source[a0, b1, c1] - source[a0, b1, c0])
                s10 = source[a1, b0, c0] + w * (source[a1, b0, c1] - source[a1, b0, c0])
                s11 = source[a1, b1, c0] + w * (source[a1, b1, c1] - source[a1, b1, c0])
                low, high = s00 + v * (s01 - s00), s10 + v * (s11 - s10)
                out[i, j, k] = low + u * (high - low)


@compiled_fast
def _spline_taps(at, size, index, weight):
    """The four coefficients around a position, mirrored at the outer centres, and their weights."""
    low = int(at)
    part = np.float32(at - low)
    rest = np.float32(1) - part
    weight[0] = rest * rest * rest / 6
    weight[1] = np.float32(2 / 3) - part * part * (2 - part) / 2
    weight[2] = np.float32(2 / 3) - rest * rest * (2 - rest) / 2
    weight[3] = part * part * part / 6
    for n in range(4):
        place = abs(low - 1 + n)
        index[n] = abs(min(place, 2 * size - 2 - place)) if size > 1 else 0


@compiled_fast
def cubic_rotated(coefficients, matrix, step, fill, out):
    """Cubic B-spline values on any grid; otherwise as `nearest_rotated`.

    An axis of one voxel has no coefficients but its value, which all four weights share.
    """
    n0, n1, n2 = coefficients.shape
    index = np.empty((3, 4), np.int64)
    weight = np.empty((3, 4), np.float32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, in0 = _place(matrix[0], i, j, k, step, n0)
                y, in1 = _place(matrix[1], i, j, k, step, n1)
                z, in2 = _place(matrix[2], i, j, k, step, n2)
                if not (in0 and in1 and in2):
                    out[i, j, k] = fill
                    continue
                _spline_taps(x, n0, index[0], weight[0])
                _spline_taps(y, n1, index[1], weight[1])
                _spline_taps(z, n2, index[2], weight[2])
                total = np.float32(0)
                for a in range(4):
                    for b in range(4):
                        row = coefficients[index[0, a], index[1, b]]
                        line = np.float32(0)
                        for c in range(4):
                            line += weight[2, c] * row[index[2, c]]
                        total += weight[0, a] * weight[1, b] * line
                out[i, j, k] = total
