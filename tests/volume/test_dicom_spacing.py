import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import MissingSlice, UnevenSlices
from medseg.volume.dicom_spacing import planes_of


@given(
    st.sets(st.integers(1, 30), min_size=12),
    st.floats(0.3, 10),
    st.floats(-500, 500),
)
def test_planes_that_are_there_are_found_whatever_the_unit(planes, step_mm, start_mm):
    kept = [0, *sorted(planes)]
    missing = kept[-1] + 1 - len(kept)
    along = start_mm + step_mm * np.array(kept, float)
    smallest = min(np.diff(kept))
    if smallest > 1 or missing > len(kept) or np.sort(np.diff(kept))[(len(kept) - 2) // 2] > 2:
        return
    found, distance_mm = planes_of(along, allow_gaps=True)
    assert list(found) == kept
    assert distance_mm == pytest.approx(step_mm)
    if missing:
        with pytest.raises(MissingSlice, match=f"{missing} of {kept[-1] + 1} slices missing"):
            planes_of(along, allow_gaps=False)


def test_more_missing_than_there_are_is_never_filled():
    along = np.array([0, 1, 2, 3, 20.0])
    with pytest.raises(MissingSlice, match="more are missing than there are"):
        planes_of(along, allow_gaps=True)


def test_distances_that_are_no_multiples_are_refused():
    for allow in (True, False):
        with pytest.raises(UnevenSlices, match=r"distances from 1.00 to 1.50 mm"):
            planes_of(np.array([0, 1, 2.5, 3.5]), allow_gaps=allow)
