"""Empty borders and values that are no numbers."""

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from medseg.dataset.crop import (
    bounding_box,
    crop_label_map,
    crop_volume,
    filled,
    nonzero_mask,
    require_finite,
)
from medseg.errors import DatasetError
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume


def test_the_box_holds_every_voxel_that_any_channel_fills():
    array = np.zeros((2, 8, 9, 10), dtype=np.int16)
    array[0, 2, 3, 4] = 1
    array[1, 5, 6, 4] = -1
    volume = Volume(array, Geometry.from_spacing((1, 1, 2), (8, 9, 10)), ("a", "b"))
    assert bounding_box(nonzero_mask(volume)) == ((2, 3, 4), (4, 4, 1))


def test_an_empty_image_keeps_its_grid():
    assert bounding_box(np.zeros((3, 4, 5), dtype=bool)) == ((0, 0, 0), (3, 4, 5))


def test_what_is_cut_stays_where_it_was_in_the_patient():
    array = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    volume = Volume(array, Geometry.from_spacing((1, 2, 3), (3, 4, 5), origin_mm=(9, 8, 7)))
    label_map = LabelMap(
        (array[0] > 30).astype(np.uint8), volume.geometry, (Label(value=1, name="a"),)
    )
    part = crop_volume(volume, (1, 2, 3), (2, 1, 2))
    labels = crop_label_map(label_map, (1, 2, 3), (2, 1, 2))
    np.testing.assert_array_equal(part.array, array[:, 1:3, 2:3, 3:5])
    np.testing.assert_array_equal(labels.array, array[0, 1:3, 2:3, 3:5] > 30)
    np.testing.assert_allclose(part.geometry.origin_mm, (10, 12, 16))
    assert labels.geometry == part.geometry


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused_and_counted(bad):
    array = np.zeros((1, 2, 2, 2))
    array[0, 0, 0, :] = bad
    with pytest.raises(DatasetError, match="2 voxels of 8"):
        require_finite(Volume(array, Geometry.from_spacing((1, 1, 1), (2, 2, 2))))


def test_values_pass_as_long_as_float32_holds_their_squares():
    geometry = Geometry.from_spacing((1, 1, 1), (2, 2, 2))
    require_finite(Volume(np.full((1, 2, 2, 2), -1e18, np.float32), geometry))
    for large in (-1.1e18, 1.7e308):
        with pytest.raises(DatasetError, match="8 voxels of 8"):
            require_finite(Volume(np.full((1, 2, 2, 2), large), geometry))


def test_holes_are_filled_and_what_reaches_the_border_is_not():
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    mask[2, 2, 2] = False
    assert np.array_equal(filled(mask), binary_fill_holes(mask))
    assert filled(mask)[2, 2, 2]
    mask[2, 2, 3] = False
    assert np.array_equal(filled(mask), mask)
    assert not filled(np.zeros((3, 3, 1), bool)).any()
    assert filled(np.ones((3, 3, 1), bool)).all()
