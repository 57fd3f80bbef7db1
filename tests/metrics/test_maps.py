import numpy as np
import pytest

from medseg.errors import EvaluationError
from medseg.metrics.maps import in_order


def test_maps_stay_where_they_are_in_memory():
    labels = np.zeros((4, 5, 6), np.uint8)
    for grid in (labels, np.asfortranarray(labels), labels[..., :1].copy()):
        maps = in_order(grid, grid, (1.0, 2.0, 3.0), [1])
        assert np.shares_memory(maps.predicted, grid)
        assert maps.predicted.flags.c_contiguous
        assert not maps.predicted.flags.writeable
        assert grid.flags.writeable


@pytest.mark.parametrize(
    ("shape", "order", "spacing_mm"),
    [
        ((4, 5, 6), "C", (1.0, 2.0, 3.0)),
        ((4, 5, 6), "F", (3.0, 2.0, 1.0)),
        ((4, 5, 1), "C", (3.0, 1.0, 2.0)),
        ((4, 5), "C", (3.0, 1.0, 2.0)),
        ((4, 1, 6), "C", (3.0, 1.0, 3.0)),
    ],
)
def test_spacing_goes_with_its_axis_and_an_axis_of_one_voxel_is_first(shape, order, spacing_mm):
    labels = np.zeros(shape, np.uint8, order)
    maps = in_order(labels, labels, (1.0, 2.0, 3.0), [1])
    assert maps.spacing_mm == spacing_mm
    assert 1 not in maps.predicted.shape[1:]


def test_structures_are_numbered_in_the_order_of_their_values():
    labels = np.array([[[7, 7, 2]]], np.uint16)
    maps = in_order(labels, labels.astype(np.int64), (1.0,) * 3, [7, 300, 2])
    assert [one.both for one in maps.overlaps()] == [2, 0, 1]
    assert maps.predicted.dtype == maps.reference.dtype == np.uint16
    assert [len(there.points) for there, _ in maps.surfaces("borders")] == [2, 0, 1]


def test_what_holds_no_labels_is_refused():
    with pytest.raises(EvaluationError, match="holds integers"):
        in_order(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), int), (1.0,) * 3, [1])
