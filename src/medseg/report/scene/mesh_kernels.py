"""Compiled loops over triangles: smoothing within bounds, normals, distances."""

import numpy as np

from medseg.compiled import compiled
from medseg.types import FloatArray, IntArray


@compiled
def smoothed(
    vertices: FloatArray,
    triangles: IntArray,
    room: FloatArray,
    spacing_mm: FloatArray,
    rounds: int,
) -> FloatArray:
    """Smooth a closed surface in place of its terraces; no vertex leaves its room.

    Args:
        vertices: Voxel indices, shape (n, 3), float64.
        triangles: Corners, shape (m, 3).
        room: How many voxels each vertex may go along each axis, shape (n,).
        spacing_mm: Voxel size, shape (3,): edges count in millimetres.
        rounds: How often a shrinking step is followed by a growing one.

    Returns:
        Voxel indices, shape (n, 3).

    Source:
        Taubin, SIGGRAPH 1995 (lambda 0.5, mu -0.53), held in the cell of each vertex as surface
        nets are (Gibson, MICCAI 1998).
    """
    moved = vertices.copy()
    sums = np.empty_like(moved)
    weights = np.empty(moved.shape[0])
    for step in range(2 * rounds):
        factor = 0.5 if step % 2 == 0 else -0.53
        sums[:] = 0.0
        weights[:] = 0.0
        for t in range(triangles.shape[0]):
            for side in range(3):
                a, b = triangles[t, side], triangles[t, (side + 1) % 3]
                away = 0.0
                for x in range(3):
                    away += ((moved[a, x] - moved[b, x]) * spacing_mm[x]) ** 2
                if away == 0.0:
                    continue
                for x in range(3):
                    sums[a, x] += moved[b, x]
                    sums[b, x] += moved[a, x]
                weights[a] += 1.0
                weights[b] += 1.0
        for n in range(moved.shape[0]):
            if weights[n] == 0.0:
                continue
            for x in range(3):
                there = moved[n, x] + factor * (sums[n, x] / weights[n] - moved[n, x])
                moved[n, x] = min(max(there, vertices[n, x] - room[n]), vertices[n, x] + room[n])
    return moved


@compiled
def normals_of(vertices: FloatArray, triangles: IntArray) -> FloatArray:
    """Unit normals of vertices: the mean over their triangles, weighted by area; 0 where none is.

    Args:
        vertices: Shape (n, 3).
        triangles: Corners, counter-clockwise as seen from outside, shape (m, 3).
    """
    normals = np.zeros((vertices.shape[0], 3))
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            area = (vertices[b, y] - vertices[a, y]) * (vertices[c, z] - vertices[a, z]) - (
                vertices[b, z] - vertices[a, z]
            ) * (vertices[c, y] - vertices[a, y])
            normals[a, x] += area
            normals[b, x] += area
            normals[c, x] += area
    for n in range(normals.shape[0]):
        length = np.sqrt(normals[n, 0] ** 2 + normals[n, 1] ** 2 + normals[n, 2] ** 2)
        if length > 0:
            normals[n] /= length
    return normals


@compiled
def triangles_at(triangles: IntArray, vertices: int) -> tuple[IntArray, IntArray]:
    """Which triangles meet at each vertex: where each list begins, and the lists one after another.

    Args:
        triangles: Corners, shape (m, 3).
        vertices: Their number n.

    Returns:
        Shapes (n + 1,) and (3 m,).
    """
    begin = np.zeros(vertices + 1, np.int64)
    for t in range(triangles.shape[0]):
        for corner in range(3):
            begin[triangles[t, corner] + 1] += 1
    begin = np.cumsum(begin)
    at, listed = begin[:-1].copy(), np.empty(3 * triangles.shape[0], np.int64)
    for t in range(triangles.shape[0]):
        for corner in range(3):
            vertex = triangles[t, corner]
            listed[at[vertex]] = t
            at[vertex] += 1
    return begin, listed


@compiled
def least_distances(
    points: FloatArray,
    near: IntArray,
    vertices: FloatArray,
    triangles: IntArray,
    begin: IntArray,
    listed: IntArray,
) -> FloatArray:
    """Distance of each point to the nearest of the triangles that meet at vertices near it.

    Args:
        points: Shape (n, 3).
        near: Vertices of the surface to look at for each point, shape (n, k).
        vertices: Of the surface, shape (v, 3).
        triangles: Its corners, shape (m, 3).
        begin: As `triangles_at` gives it.
        listed: The same.
    """
    found = np.empty(points.shape[0])
    for n in range(points.shape[0]):
        least = np.inf
        for k in range(near.shape[1]):
            vertex = near[n, k]
            for at in range(begin[vertex], begin[vertex + 1]):
                t = listed[at]
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                way = way_to(points[n], vertices[a], vertices[b], vertices[c])
                least = min(least, dot(way, way))
        found[n] = np.sqrt(least)
    return found


@compiled
def way_to(p: FloatArray, a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
    """From the nearest point of a triangle to a point, shape (3,).

    Source:
        Ericson, Real-Time Collision Detection, 2005, section 5.1.5.
    """
    ab, ac, ap, bp, cp = b - a, c - a, p - a, p - b, p - c
    d1, d2, d3, d4 = dot(ab, ap), dot(ac, ap), dot(ab, bp), dot(ac, bp)
    d5, d6 = dot(ab, cp), dot(ac, cp)
    if d1 <= 0 and d2 <= 0:
        return ap
    if d3 >= 0 and d4 <= d3:
        return bp
    if d6 >= 0 and d5 <= d6:
        return cp
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    u, v = 0.0, 0.0
    if vc <= 0 and d1 >= 0 and d3 <= 0:
        u = d1 / (d1 - d3)
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v = d2 / (d2 - d6)
    elif va <= 0 and d4 >= d3 and d5 >= d6:
        v = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        u = 1.0 - v
    else:
        u, v = vb / (va + vb + vc), vc / (va + vb + vc)
    way = np.empty(3)
    for x in range(3):
        way[x] = ap[x] - u * ab[x] - v * ac[x]
    return way


@compiled
def dot(a: FloatArray, b: FloatArray) -> float:
    """Scalar product in three dimensions."""
    return float(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])
