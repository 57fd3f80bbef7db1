"""Compiled loops over label maps: plain Python that numba compiles and caches on disk.

They find what surfaces are made of. A *border voxel* belongs to a structure and touches across a
face a voxel that does not, or the edge of the grid. A *mixed corner* is where eight voxels meet
that do not all hold one value; outside of the grid is background.

An axis of one voxel has no neighbours: a 2D image has outlines, not faces. Where a map has such an
axis it is the first. A grid of one voxel is all border.
"""

import numpy as np

from medseg.compiled import compiled
from medseg.types import AnyArray, IntArray


@compiled
def count(
    predicted: IntArray,
    reference: IntArray,
    words: tuple[IntArray, IntArray],
    structure_of: IntArray,
    structures: int,
) -> IntArray:
    """Count the voxels of all structures in one pass, eight bytes at once where they are alike.

    Args:
        predicted: Label values in a row, shape (n,), contiguous.
        reference: The same of the reference.
        words: The beginning of both as whole words of eight bytes.
        structure_of: Label value -> structure from 1 on; 0 for all values that are not scored.
        structures: Number of structures N.

    Returns:
        Voxels as (N + 1, 3): in the prediction, in the reference, in both. Row 0 means nothing.
    """
    voxels = np.zeros((structures + 1, 3), np.int64)
    size = 8 // predicted.itemsize
    ones = np.uint64(0x0101010101010101 if size == 8 else 0x0001000100010001)
    for n in range(words[0].size):
        there, back = words[0][n], words[1][n]
        if there == 0 and back == 0:
            continue
        at = n * size
        if there == ones * np.uint64(predicted[at]) and back == ones * np.uint64(reference[at]):
            tally(voxels, structure_of[predicted[at]], structure_of[reference[at]], size)
        else:
            for m in range(at, at + size):
                tally(voxels, structure_of[predicted[m]], structure_of[reference[m]], 1)
    for m in range(words[0].size * size, predicted.size):
        tally(voxels, structure_of[predicted[m]], structure_of[reference[m]], 1)
    return voxels


@compiled
def tally(voxels: IntArray, there: int, back: int, times: int) -> None:
    """Add voxels that belong to structure `there` in the prediction and `back` in the reference."""
    voxels[there, 0] += times
    voxels[back, 1] += times
    if there == back:
        voxels[there, 2] += times


@compiled
def row_of(labels: IntArray, outside: IntArray, i: int, j: int) -> IntArray:
    """The voxels of one row; background where there is none."""
    if i < 0 or j < 0 or i >= labels.shape[0] or j >= labels.shape[1]:
        return outside
    row: IntArray = labels[i, j]
    return row


@compiled
def grown(found: IntArray) -> IntArray:
    """The same rows with space for as many more."""
    larger = np.empty((2 * found.shape[0], found.shape[1]), found.dtype)
    larger[: found.shape[0]] = found
    return larger


@compiled
def find_borders(labels: IntArray, outside: IntArray, structure_of: IntArray) -> IntArray:
    """All border voxels of all structures, in the order of the grid.

    Args:
        labels: Label values, shape (I, J, K), contiguous.
        outside: A row of background, shape (K,), of the same type.
        structure_of: Label value -> structure, as for `count`.

    Returns:
        Structure and flat index of each, shape (n, 2).
    """
    size_i, size_j, size_k = labels.shape
    found, n = np.empty((1024, 2), np.int64), 0
    differs = np.zeros((size_k + 7) // 8 * 8, labels.dtype)
    words = differs.view(np.uint64)
    for i in range(size_i):
        for j in range(size_j):
            own = labels[i, j]
            _borders_in_row(labels, outside, i, j, differs)
            for word in range(words.size):
                if words[word] == 0:
                    continue
                step = differs.size // words.size
                for k in range(word * step, min(word * step + step, size_k)):
                    structure = structure_of[own[k]]
                    if structure > 0 and differs[k] != 0:
                        if n == found.shape[0]:
                            found = grown(found)
                        found[n, 0], found[n, 1] = structure, (i * size_j + j) * size_k + k
                        n += 1
    return found[:n].copy()


@compiled
def _borders_in_row(labels: IntArray, outside: IntArray, i: int, j: int, differs: AnyArray) -> None:
    """Set what is not 0 where a voxel of the row has a neighbour of another value."""
    size_i, size_j, size_k = labels.shape
    own = labels[i, j]
    above = row_of(labels, outside, i - 1, j) if size_i > 1 else own
    below = row_of(labels, outside, i + 1, j) if size_i > 1 else own
    left = row_of(labels, outside, i, j - 1) if size_j > 1 else own
    right = row_of(labels, outside, i, j + 1) if size_j > 1 else own
    for k in range(size_k):
        differs[k] = (
            (own[k] ^ above[k]) | (own[k] ^ below[k]) | (own[k] ^ left[k]) | (own[k] ^ right[k])
        )
    if size_k > 1 or labels.size == 1:
        differs[0] |= own[0]
        differs[size_k - 1] |= own[size_k - 1]
    before, after = own[: size_k - 1], own[1:]
    first, second = differs[: size_k - 1], differs[1:size_k]
    for k in range(size_k - 1):
        first[k] |= before[k] ^ after[k]
    for k in range(size_k - 1):
        second[k] |= before[k] ^ after[k]


@compiled
def find_elements(labels: IntArray, outside: IntArray, structure_of: IntArray) -> IntArray:
    """The surface elements of all structures at all mixed corners, in the order of the corners.

    Corner (i, j, k) is the lowest of voxel (i, j, k): it has the indices of the voxel half a step
    further along every axis. A map with one plane has corners in that plane, whose codes are those
    of the plane beside itself.

    Args:
        labels: Label values, shape (I, J, K), contiguous.
        outside: A row of background, shape (K,), of the same type.
        structure_of: Label value -> structure, as for `count`.

    Returns:
        Structure, flat index among (I + 1, J + 1, K + 1) corners, or (1, J + 1, K + 1) in 2D, and
        code from 1 to 254 of each, shape (n, 3).
    """
    size_i, size_j, size_k = labels.shape
    flat = size_i == 1
    found, n = np.empty((1024, 3), np.int64), 0
    apart = np.empty(size_k, labels.dtype)
    mixed = np.zeros((size_k + 8) // 8 * 8, labels.dtype)
    words = mixed.view(np.uint64)
    step = mixed.size // words.size
    here = np.empty(8, np.int64)
    for i in range(1 if flat else size_i + 1):
        for j in range(size_j + 1):
            behind = i if flat else i - 1
            rows = (
                row_of(labels, outside, behind, j - 1),
                row_of(labels, outside, behind, j),
                row_of(labels, outside, i, j - 1),
                row_of(labels, outside, i, j),
            )
            _mixed_in_row(rows[0], rows[1], rows[2], rows[3], apart, mixed)
            start = (i * (size_j + 1) + j) * (size_k + 1)
            for word in range(words.size):
                if words[word] == 0:
                    continue
                for k in range(word * step, min(word * step + step, size_k + 1)):
                    if mixed[k] != 0:
                        if n + 8 > found.shape[0]:
                            found = grown(found)
                        _structures_at(rows, k, structure_of, here)
                        n = _elements_at(here, start + k, found, n)
    return found[:n].copy()


@compiled
def _mixed_in_row(
    a: IntArray, b: IntArray, c: IntArray, d: IntArray, apart: AnyArray, mixed: AnyArray
) -> None:
    """Set what is not 0 where the eight voxels around a corner do not all hold one value."""
    size_k = a.size
    for k in range(size_k):
        apart[k] = (a[k] ^ b[k]) | (a[k] ^ c[k]) | (a[k] ^ d[k])
    first, second = mixed[:size_k], mixed[1 : size_k + 1]
    first[:] = apart
    second[size_k - 1] = 0
    before, after = d[: size_k - 1], d[1:]
    for k in range(size_k - 1):
        second[k] |= apart[k] | (before[k] ^ after[k])
    first[0] |= d[0]
    second[size_k - 1] |= apart[size_k - 1] | d[size_k - 1]


@compiled
def _structures_at(
    rows: tuple[IntArray, ...], k: int, structure_of: IntArray, here: IntArray
) -> None:
    """Which structures the eight voxels around a corner belong to."""
    size_k = rows[0].size
    for m in range(4):
        here[2 * m] = structure_of[rows[m][k - 1]] if k > 0 else 0
        here[2 * m + 1] = structure_of[rows[m][k]] if k < size_k else 0


@compiled
def _elements_at(here: IntArray, corner: int, found: IntArray, n: int) -> int:
    """Append the element of each structure among eight voxels; how many there are then."""
    for m in range(8):
        structure, code, new = here[m], 0, True
        for other in range(8):
            if here[other] == structure:
                code |= 128 >> other
                new = new and other >= m
        if structure > 0 and new:
            found[n, 0], found[n, 1], found[n, 2] = structure, corner, code
            n += 1
    return n
