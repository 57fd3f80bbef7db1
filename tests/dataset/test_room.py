"""Cases share the memory: never more than it holds, and one always goes on."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from planning import CPU_QUARTER, make_fingerprint

from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.plan import make_plan
from medseg.dataset.preprocess import preprocess
from medseg.dataset.room import Room
from medseg.dataset.store import Store, _sampled_locations
from medseg.errors import DatasetError
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

SIZE = (60, 50, 40)
PLAN = make_plan(make_fingerprint(((1.0, 1.0, 1.0),) * 4, (SIZE,) * 4), CPU_QUARTER)


def volume_of(spacing_mm=(1.0, 1.0, 1.0), size=SIZE) -> Volume:
    array = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    return Volume(array, Geometry.from_spacing(spacing_mm, size))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("orientation", ["RAS", "PSL"])
def test_a_case_takes_no_more_than_is_held_for_it(spacing_mm, orientation):
    volume = volume_of(spacing_mm).reoriented(orientation)
    labels = LabelMap(np.ones(volume.geometry.grid_size, np.uint8), volume.geometry, PLAN.labels)

    def prepare() -> None:
        ready = preprocess(volume, labels, PLAN)
        _sampled_locations(ready.labels, 3, background=False)

    prepare()
    tracemalloc.start()
    prepare()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    needed = Room().needed(volume, PLAN, case="a")
    assert 0.3 * needed < peak <= needed


def test_cases_wait_until_they_fit():
    room, inside, most = Room(free_bytes=100, total_bytes=1000), 0, 0
    lock = threading.Lock()

    def work(size: int) -> None:
        nonlocal inside, most
        with room.held(size):
            with lock:
                inside += size
                most = max(most, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= size

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 40, 50, 60, 20, 10] * 6))
    assert inside == 0
    assert 60 <= most <= 100


def test_a_case_larger_than_what_is_free_goes_alone():
    room = Room(free_bytes=10, total_bytes=1000)
    with room.held(500):
        waiting = threading.Thread(target=lambda: room.held(5).__enter__())
        waiting.start()
        waiting.join(0.02)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_failure_gives_its_memory_back():
    room = Room(free_bytes=10, total_bytes=1000)
    with pytest.raises(RuntimeError, match="broken"), room.held(8):
        raise RuntimeError("broken")
    with room.held(10):
        pass


def test_a_spacing_in_metres_fits_no_memory():
    volume = volume_of((1000.0, 1000.0, 1000.0), (20, 20, 20))
    with pytest.raises(DatasetError, match=r"fit into memory.*1e\+03 mm in a, which become 20000"):
        Room().needed(volume, PLAN, case="a")


def test_a_data_set_larger_than_the_memory_is_prepared_case_by_case(tmp_path, monkeypatch):
    """Four workers and room for one case: each is prepared, one after the other."""
    cases, labels = [], (Label(value=1, name="organ"),)
    for n in range(4):
        volume = volume_of(size=(16, 14, 12))
        paths = tmp_path / f"i{n}.nii.gz", tmp_path / f"l{n}.nii.gz"
        write_volume(volume, paths[0])
        array = np.zeros(volume.geometry.grid_size, np.uint8)
        array[4:8, 4:8, 4:8] = 1
        write_label_map(LabelMap(array, volume.geometry, labels), paths[1])
        cases.append(Case(id=f"c{n}", images=paths[:1], label=paths[1]))
    description = DatasetDescription(
        name="large", channels=(Channel(name="T1"),), labels=labels, cases=tuple(cases)
    )
    plan = PLAN.model_copy(update={"labels": labels})
    at_once, lock, inside = [], threading.Lock(), 0

    def counting(*given):
        nonlocal inside
        with lock:
            inside += 1
            at_once.append(inside)
        ready = preprocess(*given)
        with lock:
            inside -= 1
        return ready

    monkeypatch.setattr("medseg.dataset.store.preprocess", counting)
    monkeypatch.setattr("medseg.dataset.store.Room", lambda: Room(free_bytes=1))
    store = Store.build(tmp_path / "store", description, plan, workers=4)
    assert store.ids == ("c0", "c1", "c2", "c3")
    assert at_once == [1, 1, 1, 1]
