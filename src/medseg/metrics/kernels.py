"""Compiled loops over label maps: plain Python that numba compiles and caches on disk.

They find what surfaces are made of. A *mixed corner* is where eight voxels meet that do not all
hold one value; a *border voxel* belongs to a structure and touches across a face a voxel that does
not. Outside of the grid is background.

An axis of one voxel has no neighbours: a 2D image has outlines, not faces. Where a map has such an
axis it is the first, and only the first counts as such.
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
    used = np.array([[size_j, 0], [size_j, 0]])
    for i in range(1 if size_i == 1 else size_i + 1):
        now = i % 2
        last = now if size_i == 1 else 1 - now
        _fill(labels, i, planes[now], uneven[now], used[now])
        # Only from the first to the last row of both planes is there anything to compare.
        first = min(used[0, 0], used[1, 0]) * wide
        stop = (max(used[0, 1], used[1, 1]) + 1) * wide
        own, other = planes[now], planes[last]
        _compare_planes(
            own[first:], other[first:], uneven[now, first:], uneven[last, first:], mixed[first:stop]
        )
        for word in range(first // step, (stop + step - 1) // step):
            if words[word] == 0:
                continue
            for m in range(max(word * step, first), min(word * step + step, stop)):
                if mixed[m] != 0:
                    if n + 8 > found.shape[0]:
                        found = grown(found)
                    for k in range(4):
                        near = m + k // 2 * wide + k % 2
                        here[k], here[4 + k] = other[near], own[near]
                    n = _elements_at(here, structure_of, i * size + m, found, n)
    return found[:n].copy()


@compiled
def _fill(labels: IntArray, i: int, plane: AnyArray, uneven: AnyArray, used: IntArray) -> None:
    """Put one plane, or none, in the place of an earlier one, with background around it.

    Args:
        labels: Label values, shape (I, J, K).
        i: Which plane; I for none.
        plane: The plane with background around it, flat; changed.
        uneven: Not 0 where the four voxels around a corner do not all hold one value; changed.
        used: First row that holds something, and the one after the last; changed.
    """
    size_i, size_j, size_k = labels.shape
    wide = size_k + 1
    plane[(used[0] + 1) * wide : (used[1] + 1) * wide] = 0
    uneven[used[0] * wide : (used[1] + 1) * wide] = 0
    used[0], used[1] = size_j, 0
    for j in range(size_j if i < size_i else 0):
        anything = labels[i, j, 0]
        for k in range(size_k):
            anything |= labels[i, j, k]
        if anything != 0:
            used[0], used[1] = min(used[0], j), j + 1
    for j in range(used[0], used[1]):
        begin = (j + 1) * wide + 1
        for k in range(size_k):
            plane[begin + k] = labels[i, j, k]
    at, stop = used[0] * wide, (used[1] + 1) * wide
    _compare_four(
        plane[at:], plane[at + 1 :], plane[at + wide :], plane[at + wide + 1 :], uneven[at:stop]
    )


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
def _elements_at(
    here: IntArray, structure_of: IntArray, corner: int, found: IntArray, n: int
) -> int:
    """Append the element of each structure among eight values; how many there are then."""
    done, m = 0, 0
    while done != 255:
        while done & (128 >> m):
            m += 1
        code = 0
        for other in range(8):
            code |= int(here[other] == here[m]) << (7 - other)
        done |= code
        structure = structure_of[here[m]]
        if structure > 0:
            found[n, 0], found[n, 1], found[n, 2] = structure, corner, code
            n += 1
    return n


@compiled
def find_borders(
    elements: IntArray, shape: tuple[int, int, int], seen: AnyArray, bit: int
) -> IntArray:
    """All border voxels of all structures: each touches a corner whose code shows its open face.

    Args:
        elements: Structure, corner and code of each element, as `find_elements` returns them.
        shape: Of the label map.
        seen: One number for each voxel, flat; changed.
        bit: Which bit of it marks the voxels that were found; not set yet.

    Returns:
        Structure and flat index of each, shape (n, 2), in the order of the elements.
    """
    size_i, size_j, size_k = shape
    high = 1 if size_i > 1 else 0
    to_voxel = np.empty(8, np.int64)
    for m in range(8):
        to_voxel[m] = (m // 4 * high * size_j + m // 2 % 2) * size_k + m % 2
    first_bit = np.zeros(256, np.int64)
    for m in range(8):
        first_bit[128 >> m : 256 >> m] = m
    found, n = np.empty((1024, 2), np.int64), 0
    for element in range(elements.shape[0]):
        if n + 8 > found.shape[0]:
            found = grown(found)
        corner, code = elements[element, 1], elements[element, 2]
        row = corner // (size_k + 1)
        i, j, k = row // (size_j + 1) - high, row % (size_j + 1) - 1, corner % (size_k + 1) - 1
        lowest = (i * size_j + j) * size_k + k
        along_i = (code & 0x0F) << 4 | (code & 0xF0) >> 4
        along_j = (code & 0x33) << 2 | (code & 0xCC) >> 2
        along_k = (code & 0x55) << 1 | (code & 0xAA) >> 1
        border = code & ~(along_i & along_j & along_k)
        while border:
            m = first_bit[border]
            border ^= 128 >> m
            at = lowest + to_voxel[m]
            found[n, 0], found[n, 1] = elements[element, 0], at
            n += int(seen[at] & bit == 0)
            seen[at] |= bit
    return found[:n].copy()


@compiled
def separate(
    found: IntArray, shape: tuple[int, int, int], structures: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Bring what was found into the order of the structures; within each the order stays.

    Args:
        found: Structure, flat index and perhaps code of each, shape (n, 2) or (n, 3).
        shape: Of the grid that the flat indices are of.
        structures: Number of structures N.

    Returns:
        Indices, shape (n, 3); the last column of `found`, shape (n,); and where each structure's
        begin, shape (N + 1,).
    """
    begin = np.zeros(structures + 1, np.int64)
    for n in range(found.shape[0]):
        begin[found[n, 0]] += 1
    begin = np.cumsum(begin)
    free = begin.copy()
    points = np.empty((found.shape[0], 3), np.int32)
    last = np.empty(found.shape[0], np.int64)
    for n in range(found.shape[0]):
        at = free[found[n, 0] - 1]
        free[found[n, 0] - 1] += 1
        row = found[n, 1] // shape[2]
        points[at, 0], points[at, 1] = row // shape[1], row % shape[1]
        points[at, 2] = found[n, 1] - row * shape[2]
        last[at] = found[n, found.shape[1] - 1]
    return points, last, begin
