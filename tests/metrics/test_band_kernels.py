import numpy as np

from medseg.metrics.band_kernels import mark, mark_band


def test_a_voxel_is_counted_once_and_as_shared_only_where_both_maps_agree():
    band, counts = np.zeros(3, np.uint8), np.zeros((2, 3), np.int64)
    other = np.array([7, 7, 0], np.uint8)
    for bit in (1, 1, 2, 2):
        mark(0, 7, 1, bit, other, band, counts)
    mark(2, 7, 1, 1, other, band, counts)
    mark(2, 7, 1, 2, other, band, counts)
    assert counts[1].tolist() == [2, 2, 1]


def test_steps_go_from_outside_through_the_mask():
    labels = np.zeros((1, 1, 6), np.uint8)
    labels[0, 0, 1:6] = 7
    borders = np.array([(1, 1), (1, 5)])
    lower = np.array([(0, 0, 2), (0, 0, 3)])
    steps = (lower, np.array([0, 0, 0, 0, 0, 2, 2]))
    band, counts = np.zeros(6, np.uint8), np.zeros((2, 3), np.int64)
    mark_band(labels, labels, borders, steps, 1, band, counts)
    assert band.tolist() == [0, 1, 1, 1, 0, 1]
    assert counts[1].tolist() == [4, 0, 0]
