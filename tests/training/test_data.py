from pathlib import Path

import pytest
import torch

from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.errors import DifferentSpace, UnreadableFile
from medseg.training.data import Batch, Batches, Part


@pytest.fixture
def store(blobs: DatasetDescription, plan: Plan, tmp_path: Path) -> Store:
    return Store.build(tmp_path / "store", blobs, plan)


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_a_batch_has_the_plans_shape(store: Store, plan: Plan) -> None:
    image, labels = Batches(store, store.ids, plan, seed=0).batch(0)
    assert image.shape == (2, 1, 8, 8, 8)
    assert image.dtype == torch.float32
    assert labels.shape == (2, 8, 8, 8)
    assert labels.dtype == torch.int64
    assert 0 <= labels.min() <= labels.max() <= 2


def test_a_2d_batch_has_no_k(store: Store, plan: Plan) -> None:
    flat = plan.model_copy(
        update={
            "config": "2d",
            "patch_size": (8, 8, 1),
            "network": plan.network.model_copy(update={"dims": 2}),
        }
    )
    image, labels = Batches(store, store.ids, flat, seed=0).batch(0)
    assert image.shape == (2, 1, 8, 8)
    assert labels.shape == (2, 8, 8)


def test_seed_fold_and_step_decide_a_batch_and_nothing_else(store: Store, plan: Plan) -> None:
    batches = Batches(store, store.ids, plan, seed=0)
    batches.batch(9)
    assert same(batches.batch(3), Batches(store, store.ids, plan, seed=0).batch(3))
    assert not same(batches.batch(3), batches.batch(4))
    assert not same(batches.batch(3), Batches(store, store.ids, plan, seed=1).batch(3))
    assert not same(batches.batch(3), Batches(store, store.ids, plan, seed=0, fold=1).batch(3))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_change_nothing(store: Store, plan: Plan, workers: int) -> None:
    batches = Batches(store, store.ids, plan, seed=0)
    with batches.starting_at(5, workers=workers) as feed:
        for step in range(5, 12):
            assert same(next(feed), batches.batch(step))


def test_each_pass_goes_through_all_cases(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = Batches(store, store.ids, plan, seed=0)
    seen: list[str] = []
    case = store.case

    def note(case_id: str) -> object:
        seen.append(case_id)
        return case(case_id)

    monkeypatch.setattr(store, "case", note)
    for step in range(8):
        batches.batch(step)
    first, second = seen[:8], seen[8:]
    assert sorted(first) == sorted(second) == sorted(store.ids)
    assert first != second


def test_epochs_and_steps(store: Store, plan: Plan) -> None:
    batches = Batches(store, store.ids, plan, seed=0)
    assert batches.steps_of(3) == 12
    assert batches.epochs_of(12) == 3.0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", ["image.npy", "labels.npy", "locations.npy"])
def test_a_truncated_case_is_named_with_its_cure(
    store: Store, plan: Plan, workers: int, cut: str
) -> None:
    array = store.folder / "blob_3" / cut
    array.write_bytes(array.read_bytes()[:200])
    every = plan.model_copy(
        update={"recipe": plan.recipe.model_copy(update={"foreground_share": 1.0})}
    )
    batches = Batches(store, store.ids, every, seed=0)
    with (
        batches.starting_at(0, workers=workers) as feed,
        pytest.raises(UnreadableFile, match=r"blob_3 is not\. Received: .+ --resume"),
    ):
        for _ in range(4):
            next(feed)


def test_an_error_of_a_worker_keeps_its_kind_and_gets_the_name_of_its_case(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DifferentSpace("Two grids are one.", received="two")

    batches = Batches(store, store.ids[:1], plan, seed=0)
    monkeypatch.setattr("medseg.training.data.training_sample", fail)
    with (
        batches.starting_at(0, workers=2) as feed,
        pytest.raises(DifferentSpace, match=r"Case blob_0: Two grids are one\. Received: two\."),
    ):
        next(feed)


@pytest.mark.parametrize(("size", "samples"), [(1, 2), (2, 2), (2, 5), (3, 5)])
def test_parts_make_the_batch_that_one_process_makes(
    store: Store, plan: Plan, size: int, samples: int
) -> None:
    larger = plan.model_copy(
        update={"recipe": plan.recipe.model_copy(update={"batch_size": samples})}
    )
    parts = [
        Batches(store, store.ids, larger, seed=0, part=Part(rank, size)).batch(3)
        for rank in range(size)
    ]
    images, labels = zip(*parts, strict=True)
    whole = Batches(store, store.ids, larger, seed=0).batch(3)
    assert same((torch.cat(images), torch.cat(labels)), whole)
