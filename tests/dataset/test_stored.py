"""Reading patches of one case."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.dataset.stored import CaseRecord, StoredCase, StoredGrid, read_record
from medseg.errors import DatasetError
from medseg.volume.geometry import Geometry

GRID = (9, 7, 5)


def store_case(folder, *, order="C", labelled=True) -> StoredCase:
    """Two channels of 9 x 7 x 5 voxels, every value another one, and three classes."""
    values = np.arange(2 * np.prod(GRID)).reshape(2, *GRID) % 2000 + 1
    np.save(folder / "image.npy", values.astype(np.float16, order=order))
    labels = (values[0] % 3).astype(np.uint8)
    if labelled:
        np.save(folder / "labels.npy", np.asarray(labels, order=order))
    places = [np.argwhere(labels == n) for n in (1, 2)]
    np.save(folder / "locations.npy", np.concatenate(places).astype(np.int32))
    grid = StoredGrid.of(Geometry.from_spacing((1, 1, 2), GRID))
    record = CaseRecord(
        id="a",
        plan_hash="",
        files_hash="",
        geometry=grid,
        original=grid,
        class_voxels=tuple(np.bincount(labels.ravel()).tolist()) if labelled else (),
        location_counts=(0, *(len(place) for place in places)) if labelled else (),
    )
    (folder / "record.json").write_text(record.model_dump_json())
    return StoredCase(folder, record)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from("CF"), st.data())
def test_a_patch_is_a_part_of_the_case_and_0_outside(tmp_path, order, data):
    case = store_case(tmp_path, order=order)
    start = [data.draw(st.integers(-12, 12)) for _ in range(3)]
    size = [data.draw(st.integers(1, 12)) for _ in range(3)]
    image, labels = case.read(start, size)
    far = 30
    wide = np.pad(case.image(), ((0, 0), *((far, far),) * 3))
    box = tuple(slice(far + s, far + s + n) for s, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(image, wide[(slice(None), *box)])
    np.testing.assert_array_equal(labels, np.pad(case.labels(), far)[box])
    assert image.dtype == np.float32
    assert image.flags.writeable
    assert labels.flags.writeable


def test_locations_of_each_class(tmp_path):
    case, labels = store_case(tmp_path), store_case(tmp_path).labels()
    for n in (1, 2):
        assert (labels[tuple(case.locations(n).T)] == n).all()
        assert len(case.locations(n)) == case.class_voxels[n]
    for n in (-1, 0, 3):
        assert case.locations(n).shape == (0, 3)


def test_without_label(tmp_path):
    case = store_case(tmp_path, labelled=False)
    assert not case.is_labelled
    assert case.labels() is None
    assert case.locations(1).shape == (0, 3)
    assert not case.read((0, 0, 0), GRID)[1].any()


def test_grids_survive_their_record(tmp_path):
    case = store_case(tmp_path)
    assert read_record(tmp_path) == case.record
    assert case.geometry == case.original == Geometry.from_spacing((1, 1, 2), GRID)
    assert case.grid_size == GRID


@pytest.mark.parametrize("content", [None, "", "{}", '{"id": 3}'])
def test_what_is_no_record_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    assert read_record(tmp_path) is None


def test_the_mask_of_a_stage_before_is_read_as_the_labels_are(tmp_path):
    case = store_case(tmp_path)
    assert not case.has_mask
    mask = case.labels()[::-1].astype(np.uint16)
    case.keep_mask(mask)
    assert case.has_mask
    np.testing.assert_array_equal(case.mask(), mask)
    assert case.mask().dtype == np.uint16
    np.testing.assert_array_equal(case.read_mask((-1, 2, 3), (4, 9, 2))[1:, :5], mask[:3, 2:, 3:])
    assert not case.read_mask((-1, 2, 3), (4, 9, 2))[0].any()


def test_a_mask_that_is_missing_or_of_another_grid_is_refused(tmp_path):
    case = store_case(tmp_path)
    with pytest.raises(DatasetError, match=r"holds the mask of the stage before.*--resume"):
        case.mask()
    with pytest.raises(DatasetError, match=r"stored grid of \(9, 7, 5\)"):
        case.keep_mask(np.zeros((9, 7, 6), np.uint8))
    assert not case.has_mask
