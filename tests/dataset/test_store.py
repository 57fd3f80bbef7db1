"""Preprocessed cases on disk."""

import os
import pickle
import threading

import numpy as np
import pytest
from planning import CPU_QUARTER

from medseg.dataset import store as store_module
from medseg.dataset.description import read_case, read_case_label
from medseg.dataset.fingerprint import take_fingerprint
from medseg.dataset.importers import open_dataset
from medseg.dataset.plan import make_plan
from medseg.dataset.preprocess import preprocess
from medseg.dataset.store import Store
from medseg.errors import CannotWrite, DatasetError, MissingPath, UnreadableFile


@pytest.fixture
def description(tiny_dataset):
    return open_dataset(tiny_dataset)


@pytest.fixture
def plan(description):
    return make_plan(take_fingerprint(description), CPU_QUARTER)


@pytest.fixture
def store(description, plan, tmp_path):
    return Store.build(tmp_path / "store", description, plan)


def test_what_was_stored_is_what_was_preprocessed(store, description, plan):
    assert store.ids == tuple(case.id for case in description.cases)
    assert len(store) == 6
    for case in description.cases:
        ready = preprocess(read_case(description, case), read_case_label(description, case), plan)
        stored = store.case(case.id)
        assert stored.geometry == ready.geometry
        assert stored.original == ready.original
        assert stored.grid_size == ready.geometry.grid_size
        np.testing.assert_array_equal(stored.labels(), ready.labels)
        np.testing.assert_allclose(stored.image(), ready.image, rtol=5e-4, atol=1e-6)
        assert stored.class_voxels == tuple(np.bincount(ready.labels.ravel(), minlength=3))


def test_locations_are_voxels_of_their_class(store):
    for name in store.ids:
        case, labels = store.case(name), store.case(name).labels()
        for n in (1, 2):
            places = case.locations(n)
            assert len(places) == (labels == n).sum()
            assert (labels[tuple(places.T)] == n).all()
        assert case.locations(0).shape == case.locations(3).shape == (0, 3)


def test_locations_are_sampled_over_the_whole_structure(store, description, plan, tmp_path):
    small = pytest.MonkeyPatch()
    with small.context() as patch:
        patch.setattr(store_module, "MOST_LOCATIONS", 5)
        few = Store.build(tmp_path / "few", description, plan)
    case, labels = few.case(few.ids[0]), few.case(few.ids[0]).labels()
    assert len(case.locations(1)) == len(case.locations(2)) == 5
    every = np.argwhere(labels == 2)
    np.testing.assert_array_equal(case.locations(2)[[0, -1]], every[[0, -1]])


def test_a_second_build_keeps_what_is_there(store, description, plan):
    times = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.npy")}
    Store.build(store.folder, description, plan)
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.npy")} == times


def test_another_plan_or_a_changed_file_is_done_again(store, description, plan):
    def built() -> dict[str, int]:
        return {
            path.parent.name: path.stat().st_mtime_ns for path in store.folder.glob("*/image.npy")
        }

    before = built()
    changed = description.cases[2]
    os.utime(changed.images[0], ns=(1, 1))
    Store.build(store.folder, description, plan)
    after = built()
    assert {name for name in before if before[name] != after[name]} == {changed.id}
    longer = plan.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    again = Store.build(store.folder, description, longer)
    assert again.case(changed.id).grid_size == (6, 7, 8)


def test_a_broken_record_is_done_again(store, description, plan):
    (store.folder / store.ids[0] / "record.json").write_text("{")
    with pytest.raises(MissingPath, match="1 missing"):
        Store(store.folder, store.ids)
    assert Store.build(store.folder, description, plan).ids == store.ids


def test_a_failing_case_stops_the_build_and_leaves_whole_cases(description, plan, tmp_path):
    description.cases[3].images[0].write_bytes(b"\x1f\x8b broken")
    with pytest.raises(UnreadableFile, match=description.cases[3].images[0].name):
        Store.build(tmp_path / "store", description, plan)
    for folder in (tmp_path / "store").iterdir():
        names = {path.name for path in folder.iterdir()}
        assert names == {"image.npy", "labels.npy", "locations.npy", "record.json"}


def test_what_a_killed_build_left_is_removed(store, description, plan):
    leftover = store.folder / ".partial-abc"
    leftover.mkdir()
    (leftover / "image.npy").write_bytes(b"half")
    assert Store(store.folder).ids == store.ids
    Store.build(store.folder, description, plan)
    assert not leftover.exists()


def test_a_2d_plan_stores_slice_by_slice(description, tmp_path):
    plan = make_plan(take_fingerprint(description), CPU_QUARTER, config="2d")
    store = Store.build(tmp_path / "store", description, plan)
    stored = np.load(store.folder / store.ids[0] / "image.npy", mmap_mode="r")
    assert stored[..., 3].flags.f_contiguous
    case = store.case(store.ids[0])
    image, labels = case.read((-1, 2, 3), (8, 8, 1))
    np.testing.assert_array_equal(image[:, 1:], case.image()[:, 0:7, 2:10, 3:4])
    np.testing.assert_array_equal(labels[1:], case.labels()[0:7, 2:10, 3:4])
    assert image.flags.c_contiguous


def test_only_the_cases_asked_for(description, plan, tmp_path):
    wanted = [case.id for case in description.cases[:2]]
    store = Store.build(tmp_path / "store", description, plan, ids=wanted)
    assert list(store.ids) == wanted
    assert Store(store.folder).ids == store.ids
    with pytest.raises(DatasetError, match="no such case"):
        store.case(description.cases[4].id)
    with pytest.raises(DatasetError, match="no such case"):
        Store.build(tmp_path / "store", description, plan, ids=["nobody"])


def test_a_case_without_label_has_no_structures(description, plan, tmp_path):
    name = description.unlabelled[0].id
    case = Store.build(tmp_path / "store", description, plan, ids=[name]).case(name)
    assert not case.is_labelled
    assert case.labels() is None
    assert case.locations(1).shape == (0, 3)
    image, labels = case.read((0, 0, 0), (4, 4, 4))
    assert image.any()
    assert not labels.any()


def test_ids_of_any_letters_have_a_folder_each(tiny_dataset, plan, tmp_path):
    names = ["..", ".hidden", "ä b", "a%2Fb", "%2E."]
    cases = open_dataset(tiny_dataset).cases
    renamed = [
        case.model_copy(update={"id": name}) for case, name in zip(cases, names, strict=False)
    ]
    description = open_dataset(tiny_dataset).model_copy(update={"cases": tuple(renamed)})
    store = Store.build(tmp_path / "deep" / "store", description, plan)
    assert sorted(Store(store.folder).ids) == sorted(names)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["store"]


def test_cases_are_closed_when_too_many_are_open(store, monkeypatch):
    monkeypatch.setattr(store_module, "OPEN_CASES", 2)
    first = store.case(store.ids[0])
    assert store.case(store.ids[0]) is first
    for name in store.ids[1:]:
        store.case(name)
    assert len(store._open) == 2
    assert store.case(store.ids[0]) is not first


def test_a_store_travels_to_another_process_and_serves_many_threads(store):
    other = pickle.loads(pickle.dumps(store))
    assert other.ids == store.ids
    expected = {name: store.case(name).image() for name in store.ids}
    wrong = []

    def reader(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for name in generator.choice(store.ids, 40):
            image, _ = other.case(str(name)).read((1, 2, 3), (4, 4, 4))
            if not np.array_equal(image, expected[str(name)][:, 1:5, 2:6, 3:7]):
                wrong.append(name)

    threads = [threading.Thread(target=reader, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_store_there(tmp_path):
    with pytest.raises(MissingPath, match="no folder there"):
        Store(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written(description, plan, tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(CannotWrite, match="must be a place that can be written"):
        Store.build(tmp_path / "store", description, plan)


def test_a_file_that_is_gone_is_named(description, plan, tmp_path):
    description.cases[0].images[0].unlink()
    with pytest.raises(MissingPath, match=description.cases[0].images[0].name):
        Store.build(tmp_path / "store", description, plan)


def test_where_voxels_are_ignored_background_is_sampled_and_they_are_not(
    description, plan, tmp_path, monkeypatch
):
    scribbled = description.model_copy(update={"ignored_value": 2, "labels": plan.labels[:1]})
    ours = plan.model_copy(update={"ignored_value": 2, "labels": plan.labels[:1]})
    monkeypatch.setattr(store_module, "MOST_LOCATIONS", 50)
    case = Store.build(tmp_path / "scribbles", scribbled, ours).case("phantom_000")
    labels = case.labels()
    assert set(np.unique(labels)) == {0, 1, 2}
    assert case.class_voxels == tuple(np.bincount(labels.ravel())[:2])
    for n in (0, 1):
        places = case.locations(n)
        assert len(places) == min(50, case.class_voxels[n])
        assert (labels[tuple(places.T)] == n).all()
    assert case.locations(2).shape == (0, 3)
