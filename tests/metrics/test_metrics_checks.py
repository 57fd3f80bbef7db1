import numpy as np
import pytest

from medseg.errors import EvaluationError
from medseg.metrics.checks import as_grid, checked_spacing, require_same_grid


def test_two_axes_get_a_third_of_one_voxel():
    assert as_grid(np.zeros((3, 4), np.uint8)).shape == (3, 4, 1)
    assert checked_spacing((2, 3), (3, 4)) == (2.0, 3.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "largest", "expected"),
    [(np.int64, 255, np.uint8), (np.int64, 256, np.uint16), (np.bool_, 1, np.uint8)],
)
def test_maps_become_one_of_two_types(kind, largest, expected):
    assert as_grid(np.full((2, 2, 2), largest, kind)).dtype == expected


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2, 2), (0, 3, 3)])
def test_other_than_two_or_three_axes_are_refused(shape):
    mask = np.zeros(shape, np.uint8)
    with pytest.raises(EvaluationError, match="two or three axes and at least one voxel"):
        require_same_grid(mask, mask)
