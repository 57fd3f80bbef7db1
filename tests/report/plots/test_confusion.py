import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.report.plots.confusion import Confusion, count_confusion


def test_counts_by_hand():
    reference = np.array([[[1, 1, 2, 0]]], np.uint8)
    predicted = np.array([[[1, 2, 0, 2]]], np.uint8)
    counts = count_confusion(predicted, reference, [1, 2])
    assert counts.tolist() == [[0, 0, 1], [0, 1, 1], [1, 0, 0]]


def test_values_that_are_no_structure_count_as_background():
    predicted = np.array([[[7, 1]]], np.uint8)
    reference = np.array([[[1, 1]]], np.uint8)
    assert count_confusion(predicted, reference, [1]).tolist() == [[0, 0], [1, 1]]


@given(st.integers(0, 2**32 - 1))
def test_rows_and_columns_add_up_to_the_voxels_of_both(seed):
    generator = np.random.default_rng(seed)
    predicted, reference = generator.integers(0, 4, (2, 3, 4, 5), np.uint8)
    counts = count_confusion(predicted, reference, [1, 2, 3])
    assert counts[1:].sum(axis=1).tolist() == [(reference == v).sum() for v in (1, 2, 3)]
    assert counts[:, 1:].sum(axis=0).tolist() == [(predicted == v).sum() for v in (1, 2, 3)]
    assert (count_confusion(reference, predicted, [1, 2, 3]) == counts.T).all()


def test_shares_are_of_the_row_and_of_all_predicted_voxels_in_the_background_row():
    counts = np.array([[0, 2, 2], [1, 3, 0], [0, 0, 0]])
    shares = Confusion(("background", "a", "b"), counts).shares
    assert shares[1].tolist() == [0.25, 0.75, 0.0]
    assert shares[0, 1] == pytest.approx(2 / 7)
    assert np.isnan(shares[2]).all()


def test_most_confused_keeps_the_least_found_in_their_order():
    counts = np.array([[0, 0, 0, 0], [0, 9, 1, 0], [5, 0, 5, 0], [0, 0, 1, 3]])
    kept = Confusion(("background", "a", "b", "c"), counts).most_confused(2)
    assert kept.names == ("background", "b", "c")
    assert kept.counts.tolist() == [[0, 0, 0], [5, 5, 0], [0, 1, 3]]
