import numpy as np
import pytest

from medseg.volume.dicom_gaps import fill_gaps


def test_a_linear_ramp_is_filled_exactly():
    ramp = (10 * np.arange(8, dtype=np.float32))[None, None, :] + np.arange(6).reshape(3, 2, 1)
    planes = [0, 1, 4, 7]
    assert np.allclose(fill_gaps(ramp[:, :, planes], planes), ramp)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_the_type_stays_and_slices_too(dtype):
    array = np.array([3, 8], dtype).reshape(1, 1, 2)
    filled = fill_gaps(array, [0, 2])
    assert filled.dtype == dtype
    assert filled[0, 0].tolist() == [3, pytest.approx(5.5, abs=0.5), 8]


def test_nothing_is_copied_without_a_gap():
    array = np.zeros((2, 3, 4), np.int16)
    assert fill_gaps(array, [0, 1, 2, 3]) is array
