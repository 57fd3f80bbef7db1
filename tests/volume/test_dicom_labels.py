import shutil

import numpy as np
import pytest

from medseg.errors import InvalidStructures
from medseg.volume.dicom import find_only_series, find_series
from medseg.volume.dicom_labels import (
    choose_referenced,
    find_referenced,
    is_dicom_labels,
    read_dicom_labels,
    read_labels_on,
    referenced_uids,
)
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

WRITERS = {"seg": write_segmentation, "rtstruct": write_structures}


@pytest.fixture
def mask(volume):
    array = np.zeros((5, 4, 6), np.uint8)
    array[1:4, 1:3, 1:5] = 1
    return LabelMap(array, volume.geometry, (Label(value=1, name="a"),))


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_both_kinds_are_read_and_find_their_series(tmp_path, series, mask, kind):
    path = tmp_path / "masks" / "m.dcm"
    source = find_only_series(series)
    WRITERS[kind](mask, source, path, algorithm="t", version="1")
    assert is_dicom_labels(path)
    assert not is_dicom_labels(source.paths[0])
    assert not is_dicom_labels(series)
    assert referenced_uids(path)[0] == source.uid
    assert find_referenced(path).uid == source.uid
    assert np.array_equal(read_labels_on(path, mask.geometry).array, mask.array)
    read = read_labels_on(path, None)
    assert read.volumes_ml()["a"] == pytest.approx(mask.volumes_ml()["a"])


def test_without_its_series_a_structure_set_has_no_voxels(tmp_path, series, mask):
    path = tmp_path / "far" / "away" / "m.dcm"
    write_structures(mask, find_only_series(series), path, algorithm="t", version="1")
    with pytest.raises(InvalidStructures, match="no such series beside"):
        read_dicom_labels(path)
    given = read_dicom_labels(path, reference=mask.geometry)
    assert np.array_equal(given.array, mask.array)


def test_a_series_is_known_by_its_images_where_its_identifier_is_not(tmp_path, series, mask):
    source = find_only_series(series)
    path = tmp_path / "m.dcm"
    write_structures(mask, source, path, algorithm="t", version="1")
    renamed = [type(one)(**{**vars(one), "uid": "9.9"}) for one in find_series(series)]
    assert choose_referenced(path, renamed).uid == "9.9"
    shutil.rmtree(series)
    assert choose_referenced(path, ()) is None
