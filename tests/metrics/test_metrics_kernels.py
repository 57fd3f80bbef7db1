"""Each compiled loop beside plain numpy that does the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, generate_binary_structure

from medseg.metrics.kernels import count, find_borders, find_elements, separate

quick = settings(max_examples=60, deadline=None)


@st.composite
def label_maps(draw, kinds=(np.uint8, np.uint16)):
    """A read-only map with blobs of four values; a first axis of one voxel now and then."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.integers(1, 19)))
    if shape[0] > 1:
        shape = tuple(max(2, size) for size in shape)
    labels = np.zeros(shape, draw(st.sampled_from(kinds)))
    for _ in range(draw(st.integers(0, 5))):
        start = [generator.integers(0, size) for size in shape]
        box = tuple(slice(s, s + generator.integers(1, 8)) for s in start)
        labels[box] = generator.integers(0, 5)
    if draw(st.booleans()):
        speckled = generator.random(shape) < 0.3
        labels[speckled] = generator.integers(0, 5, speckled.sum())
    labels.flags.writeable = False
    return labels


def structures():
    """Values 1, 2 and 4 are structures 1, 3 and 2; value 3 is not scored."""
    structure_of = np.zeros(65536, np.int32)
    structure_of[[1, 2, 4]] = 1, 3, 2
    return structure_of, ((1, 1), (4, 2), (2, 3))


def words_of(flat):
    words = flat[: flat.nbytes // 8 * 8 // flat.itemsize].view(np.uint64)
    words.flags.writeable = False
    return words


@quick
@given(label_maps(), st.integers(0, 2**32 - 1))
def test_count_counts_voxels(labels, seed):
    structure_of, known = structures()
    other = np.where(np.random.default_rng(seed).random(labels.shape) < 0.1, 2, labels)
    other = other.astype(labels.dtype)
    other.flags.writeable = False
    flat = labels.reshape(-1), other.reshape(-1)
    voxels = count(*flat, (words_of(flat[0]), words_of(flat[1])), structure_of, 3)
    for value, structure in known:
        there, back = labels == value, other == value
        assert tuple(voxels[structure]) == (there.sum(), back.sum(), (there & back).sum())


@quick
@given(label_maps())
def test_border_voxels_are_a_mask_minus_its_erosion(labels):
    structure_of, known = structures()
    seen = np.zeros(labels.size, np.uint8)
    found = find_borders(find_elements(labels, structure_of), labels.shape, seen, 4)
    assert np.flatnonzero(seen == 4).tolist() == sorted(found[:, 1].tolist())
    for value, structure in known:
        mask = labels == value
        mask = mask[0] if labels.shape[0] == 1 else mask
        border = mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 1))
        at = found[found[:, 0] == structure, 1]
        assert sorted(at.tolist()) == np.flatnonzero(border).tolist()


@quick
@given(label_maps())
def test_elements_are_where_eight_voxels_do_not_agree(labels):
    structure_of, known = structures()
    found = find_elements(labels, structure_of)
    for value, structure in known:
        codes = codes_of(labels == value)
        mine = found[found[:, 0] == structure]
        at = np.flatnonzero((codes > 0) & (codes < 255))
        assert mine[:, 1].tolist() == at.tolist()
        assert mine[:, 2].tolist() == codes.ravel()[at].tolist()


def codes_of(mask):
    """The bits of the eight voxels around each corner, by shifting the whole mask."""
    padded = np.pad(mask, ((1, 1) if mask.shape[0] > 1 else (0, 0), (1, 1), (1, 1))).astype(int)
    if mask.shape[0] == 1:
        padded = np.concatenate([padded, padded])
    size = [n - 1 for n in padded.shape]
    corners = np.ndindex(2, 2, 2)
    return sum(
        padded[tuple(slice(d, d + n) for d, n in zip(corner, size, strict=True))] << 7 - bit
        for bit, corner in enumerate(corners)
    )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_more_surface_than_was_expected_is_found_too(kind):
    board = np.indices((16, 16, 16)).sum(axis=0).astype(kind) % 2
    board.flags.writeable = False
    structure_of, _ = structures()
    elements = find_elements(board, structure_of)
    assert len(elements) == (codes_of(board == 1) > 0).sum() > 4096
    seen = np.zeros(board.size, np.uint8)
    assert len(find_borders(elements, board.shape, seen, 4)) == board.sum() == 2048


def test_what_was_found_is_told_apart_and_keeps_its_order():
    found = np.array([(2, 7, 50), (1, 3, 60), (2, 11, 70)])
    points, last, begin = separate(found, (2, 2, 3), 3)
    assert points.tolist() == [[0, 1, 0], [1, 0, 1], [1, 1, 2]]
    assert last.tolist() == [60, 50, 70]
    assert begin.tolist() == [0, 1, 3, 3]
