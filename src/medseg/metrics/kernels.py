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
def grown(found: IntArray) -> IntArray:
    """The same rows with space for as many more."""
    larger = np.empty((2 * found.shape[0], found.shape[1]), found.dtype)
    larger[: found.shape[0]] = found
    return larger


@compiled
def compare(own: IntArray, a: IntArray, b: IntArray, differs: AnyArray) -> None:
    """Set what is not 0 where voxels differ from either neighbour; what is set stays."""
    for n in range(own.size):
        differs[n] |= (own[n] ^ a[n]) | (own[n] ^ b[n])


@compiled
def find_borders(labels: IntArray, structure_of: IntArray) -> IntArray:
    """All border voxels of all structures, in the order of the grid.

    Args:
        labels: Label values, shape (I, J, K), contiguous.
        structure_of: Label value -> structure, as for `count`.

    Returns:
        Structure and flat index of each, shape (n, 2).
    """
    size_i, size_j, size_k = labels.shape
    size = size_j * size_k
    found, n = np.empty((1024, 2), np.int64), 0
    outside = np.zeros(size, labels.dtype)
    differs = np.zeros((size + 7) // 8 * 8, labels.dtype)
    words = differs.view(np.uint64)
    step = differs.size // words.size
    for i in range(size_i):
        own = labels[i].reshape(-1)
        differs[:] = 0
        if size_i > 1 or size == 1:
            above = labels[i - 1].reshape(-1) if i > 0 else outside
            below = labels[i + 1].reshape(-1) if i + 1 < size_i else outside
            compare(own, above, below, differs[:size])
        _borders_in_plane(own, outside, size_k, differs[:size])
        for word in range(words.size):
            if words[word] == 0:
                continue
            for m in range(word * step, min(word * step + step, size)):
                structure = structure_of[own[m]]
                if structure > 0 and differs[m] != 0:
                    if n == found.shape[0]:
                        found = grown(found)
                    found[n, 0], found[n, 1] = structure, i * size + m
                    n += 1
    return found[:n].copy()


@compiled
def _borders_in_plane(own: IntArray, outside: IntArray, size_k: int, differs: AnyArray) -> None:
    """Compare the voxels of one plane with their neighbours in it.

    All at the edge of the grid is border, so it does not matter that the first voxel of a row is
    compared with the last of the row before.
    """
    size = own.size
    for step, within in ((1, size_k), (size_k, size)):
        if within > step:
            compare(own[step:-step], own[: -2 * step], own[2 * step :], differs[step:-step])
    if size_k > 1:
        for row in range(0, size, size_k):
            differs[row] |= own[row]
            differs[row + size_k - 1] |= own[row + size_k - 1]
    if size > size_k:
        for first in (0, size - size_k):
            edge = own[first : first + size_k]
            compare(edge, outside[:size_k], edge, differs[first : first + size_k])


@compiled
def find_elements(labels: IntArray, structure_of: IntArray) -> IntArray:
    """The surface elements of all structures at all mixed corners, in the order of the corners.

    Corner (i, j, k) is the lowest of voxel (i, j, k): it has the indices of the voxel half a step
    further along every axis. A map with one plane has corners in that plane, whose codes are those
    of the plane beside itself.

    Args:
        labels: Label values, shape (I, J, K), contiguous.
        structure_of: Label value -> structure, as for `count`.

    Returns:
        Structure, flat index among (I + 1, J + 1, K + 1) corners, or (1, J + 1, K + 1) in 2D, and
        code from 1 to 254 of each, shape (n, 3).
    """
    size_i, size_j, size_k = labels.shape
    wide = size_k + 1
    size = (size_j + 1) * wide
    found, n = np.empty((1024, 3), np.int64), 0
    # A plane with background around it: rows are one voxel longer, and the first voxel of each is
    # what lies behind the last of the row before.
    planes = np.zeros((2, size + wide + 1), labels.dtype)
    uneven = np.zeros((2, size), labels.dtype)
    mixed = np.zeros((size + 7) // 8 * 8, labels.dtype)
    words = mixed.view(np.uint64)
    step = mixed.size // words.size
    here = np.empty(8, np.int64)
    for i in range(1 if size_i == 1 else size_i + 1):
        now = i % 2
        last = now if size_i == 1 else 1 - now
        _pad(labels, i, planes[now])
        own, other = planes[now], planes[last]
        _compare_four(own, own[1:], own[wide:], own[wide + 1 :], uneven[now])
        _compare_planes(own, other, uneven[now], uneven[last], mixed[:size])
        for word in range(words.size):
            if words[word] == 0:
                continue
            for m in range(word * step, min(word * step + step, size)):
                if mixed[m] != 0:
                    if n + 8 > found.shape[0]:
                        found = grown(found)
                    for k in range(4):
                        near = m + k // 2 * wide + k % 2
                        here[k] = structure_of[planes[last, near]]
                        here[4 + k] = structure_of[planes[now, near]]
                    n = _elements_at(here, i * size + m, found, n)
    return found[:n].copy()


@compiled
def _pad(labels: IntArray, i: int, plane: AnyArray) -> None:
    """Copy one plane, or none, into one with background around it."""
    wide = labels.shape[2] + 1
    if i == labels.shape[0]:
        plane[:] = 0
        return
    for j in range(labels.shape[1]):
        begin = (j + 1) * wide + 1
        for k in range(labels.shape[2]):
            plane[begin + k] = labels[i, j, k]


@compiled
def _compare_four(a: IntArray, b: IntArray, c: IntArray, d: IntArray, uneven: AnyArray) -> None:
    """Set what is not 0 where four voxels do not all hold one value."""
    for n in range(uneven.size):
        uneven[n] = (a[n] ^ b[n]) | (a[n] ^ c[n]) | (a[n] ^ d[n])


@compiled
def _compare_planes(
    own: IntArray, other: IntArray, uneven: IntArray, before: IntArray, mixed: AnyArray
) -> None:
    """Set what is not 0 where four voxels of one plane and four of the other are not all alike."""
    for n in range(mixed.size):
        mixed[n] = uneven[n] | before[n] | (own[n] ^ other[n])


@compiled
def _elements_at(here: IntArray, corner: int, found: IntArray, n: int) -> int:
    """Append the element of each structure among eight voxels; how many there are then."""
    done = 0
    for m in range(8):
        structure, code = here[m], 0
        if structure == 0 or done & 128 >> m:
            continue
        for other in range(m, 8):
            if here[other] == structure:
                code |= 128 >> other
        done |= code
        found[n, 0], found[n, 1], found[n, 2] = structure, corner, code
        n += 1
    return n
