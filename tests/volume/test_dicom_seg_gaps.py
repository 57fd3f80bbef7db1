import numpy as np

from medseg.volume.dicom_seg_gaps import frames_within, has_inner_gap


def planes(*rows):
    """One voxel for each segment, (S, J, I) from a row of 0 and 1 for each segment."""
    table = np.array(rows)
    numbers = np.arange(1, len(rows) + 1)[:, None] * table
    return numbers.T[:, None, :].astype(np.uint8)


def test_a_gap_is_inside_only():
    assert not has_inner_gap(planes([0, 1, 1, 0], [1, 0, 0, 0]))
    assert not has_inner_gap(np.zeros((3, 2, 2), np.uint8))
    assert has_inner_gap(planes([1, 1, 1, 0], [1, 0, 0, 1]))


def test_frames_within_the_extent_stay():
    within = frames_within(planes([0, 1, 0, 1, 0], [0, 0, 0, 0, 1]))
    assert within.astype(int).tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
