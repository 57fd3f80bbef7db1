import numpy as np
import pytest

from medseg.errors import TiltedSeries
from medseg.volume.dicom_tilt import find_tilt, put_back, put_upright


def tilt_of(degrees, *, axis=1, count=6, step_mm=2.0, spacing_mm=(1.0, 1.0), size=(8, 9)):
    along = step_mm * np.arange(count)
    shift = np.zeros((count, 2))
    shift[:, axis] = along * np.tan(np.radians(degrees))
    return find_tilt(shift, along, spacing_mm=spacing_mm, size=size)


def test_no_shift_is_no_tilt():
    tilt = tilt_of(0.0)
    assert (tilt.degrees, tilt.size) == (0.0, (8, 9))
    array = np.zeros((8, 9, 6), np.int16)
    assert put_upright(array, tilt) is array
    assert put_back(array, tilt, (8, 9)) is array


@pytest.mark.parametrize("degrees", [-30, -12.5, 7, 30])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_angle_is_found_and_all_slices_fit(degrees, axis):
    tilt = tilt_of(degrees, axis=axis)
    assert tilt.degrees == pytest.approx(abs(degrees))
    assert (tilt.offsets >= 0).all()
    assert (tilt.offsets.max(axis=0) + np.array([8, 9]) <= tilt.size).all()


def test_labels_come_back_to_their_pixels():
    tilt = tilt_of(20, spacing_mm=(0.7, 0.7))
    array = np.random.default_rng(0).integers(0, 4, (8, 9, 6)).astype(np.uint8)
    blocks = array.repeat(3, axis=0).repeat(3, axis=1)
    upright = put_upright(
        blocks.astype(np.float32), tilt_of(20, spacing_mm=(0.7, 0.7), size=(24, 27))
    )
    assert upright.shape[2] == 6
    whole = tilt_of(np.degrees(np.arctan(0.5)))  # one voxel further in each slice
    moved = put_upright(array.astype(np.int16), whole)
    assert np.array_equal(put_back(moved.astype(np.uint8), whole, (8, 9)), array)
    assert tilt.size > (8, 9)


def test_what_no_slice_holds_is_the_smallest_value():
    moved = put_upright(np.full((8, 9, 6), 5, np.int16), tilt_of(45 - 1e-6))
    assert set(np.unique(moved)) == {5}
    array = np.full((8, 9, 6), 5, np.int16)
    array[0, 0, 0] = -7
    assert (put_upright(array, tilt_of(44.0))[:, -1, 0] == -7).all()


def test_uneven_shifts_and_large_angles_are_refused():
    with pytest.raises(TiltedSeries, match=r"in their plane by 50.0 degrees"):
        tilt_of(50)
    along, shift = 2.0 * np.arange(5), np.zeros((5, 2))
    shift[2, 0] = 1
    with pytest.raises(TiltedSeries, match="beside their line"):
        find_tilt(shift, along, spacing_mm=(1, 1), size=(4, 4))
