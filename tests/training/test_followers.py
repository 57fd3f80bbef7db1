"""Two processes on this machine learn what one does, and end together, whatever happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.errors import LostProcess, TrainingError, UnreadableFile
from medseg.training import followers
from medseg.training.crossval import train
from medseg.training.data import Batch, Batches, Part
from medseg.training.followers import Job, align, assign, leading
from medseg.training.module import Learner
from medseg.training.run import RunSettings
from medseg.training.team import Alone, Command, Order, Place, Team, gathered, meeting_point

_SECOND = """
import sys
from safetensors.torch import save_file
from medseg.training import followers
from medseg.training.team import Place

learners = []
begin = followers._Follower._begin
def begin_and_keep(follower, job):
    begin(follower, job)
    learners.append(follower._learner)
followers._Follower._begin = begin_and_keep
followers.follow(Place(1, 2, port=int(sys.argv[1])), cuda=False)
save_file(learners[-1].state(), sys.argv[2])
"""

EPOCHS = RunSettings(epochs=3, precision="fp32", device="cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(blobs: DatasetDescription, plan: Plan, tmp_path: Path) -> Store:
    return Store.build(tmp_path / "store", blobs, plan)


@pytest.fixture
def plain(plan: Plan) -> Plan:
    """The plan with an optimizer that does not blow up the rounding of gradients that are zero."""
    recipe = plan.recipe.model_copy(update={"optimizer": "sgd", "learning_rate": 1e-3})
    return plan.model_copy(update={"recipe": recipe})


def job_of(store: Store, plan: Plan) -> Job:
    return Job(
        plan=plan, store=store.folder, ids=store.ids, seed=0, fold=0, device="cpu",
        precision="fp32", workers=0, threads=1,
    )  # fmt: skip


def learn(learner: Learner, batches: Batches, team: Team) -> list[Tensor]:
    """A few steps; returns the gradients of the first, before they are clipped."""
    found: list[Tensor] = []
    clip = learner._fabric.clip_gradients

    def noted(module: torch.nn.Module, *words: object, **named: object) -> Tensor:
        if not found:
            found.extend(p.grad.clone() for p in module.parameters() if p.grad is not None)
        return clip(module, *words, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner._fabric, "clip_gradients", noted)
        for _ in range(4):
            team.order(Order(Command.STEP, 1e-3, 0.5))
            learner.step(batches.batch(learner.steps), 1e-3)
    return found


def test_two_learn_what_one_learns(store: Store, plain: Plan, tmp_path: Path) -> None:
    alone = Learner(plain, device="cpu", precision="fp32", seed=0)
    expected = learn(alone, Batches(store, store.ids, plain, seed=0), Alone())
    first = Place(0, 2)
    meeting = meeting_point(first)
    words = [sys.executable, "-c", _SECOND, str(meeting.port), str(tmp_path / "second")]
    with subprocess.Popen(words) as second:
        with gathered(first, meeting, cuda=False) as team:
            learner = Learner(plain, device="cpu", precision="fp32", seed=0, team=team)
            batches = Batches(store, store.ids, plain, seed=0, part=Part(0, 2))
            assign(team, job_of(store, plain))
            align(team, learner)
            found = learn(learner, batches, team)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
            team.order(Order(Command.END))
        assert second.wait(60) == 0
    theirs = load_file(tmp_path / "second")
    mine = learner.state()
    assert theirs.keys() == mine.keys()
    assert all(torch.equal(theirs[name], mine[name]) for name in mine)
    for name, tensor in alone.averaged_weights().items():
        torch.testing.assert_close(learner.averaged_weights()[name], tensor, rtol=1e-3, atol=1e-5)


def test_more_processes_than_samples_are_refused(store: Store, plan: Plan) -> None:
    team = Alone()
    team.size = 3
    with pytest.raises(TrainingError, match=r"3 processes and a batch of 2.*--devices 2"):
        assign(team, job_of(store, plan))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(TrainingError, match="2 devices, and torch sees 1 GPUs"),
        leading(None, 2, device="cuda"),
    ):
        pass


def test_one_device_needs_no_team() -> None:
    with leading(None, 1, device="cpu") as team:
        assert team.size == 1


@pytest.mark.slow
def test_a_run_on_two_devices_ends_as_on_one(
    blobs: DatasetDescription, plain: Plan, tmp_path: Path
) -> None:
    one = train(blobs, tmp_path / "one", EPOCHS, plan=plain)
    two = train(blobs, tmp_path / "two", EPOCHS.model_copy(update={"devices": 2}), plan=plain)
    for name, tensor in one.members[0].items():
        torch.testing.assert_close(two.members[0][name], tensor, rtol=1e-3, atol=1e-5)
    assert two.metrics["dice"]["mean"] == pytest.approx(one.metrics["dice"]["mean"], abs=0.02)


@pytest.mark.slow
def test_the_error_of_another_process_is_told_with_its_case(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every case is cut after this process has opened its own part of the batches."""
    assign_first = followers.assign
    folder = tmp_path / "run"

    def assign_and_cut(team: Team, job: Job) -> None:
        assign_first(team, job)
        for case in (folder / "store").glob("blob_*/image.npy"):
            case.write_bytes(case.read_bytes()[:200])

    monkeypatch.setattr("medseg.training.fold.assign", assign_and_cut)
    monkeypatch.setattr(Batches, "batch", lambda *_: one_batch(plan))
    monkeypatch.setattr("medseg.training.fold._workers", lambda _machine: 0)
    with pytest.raises(UnreadableFile, match=r"blob_\d is not\. Received: .+--resume"):
        train(blobs, folder, EPOCHS.model_copy(update={"devices": 2}), plan=plan)


@pytest.mark.slow
def test_a_killed_process_ends_the_training_with_one_sentence(
    blobs: DatasetDescription, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    start = followers._started

    def start_and_note(*words: object) -> object:
        started.extend(start(*words))  # type: ignore[arg-type]
        return started

    step = Learner.step

    def step_or_kill(learner: Learner, *words: object) -> object:
        if learner.steps == 5:
            os.kill(started[0].pid, signal.SIGKILL)  # type: ignore[attr-defined]
        return step(learner, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(followers, "_started", start_and_note)
    monkeypatch.setattr(Learner, "step", step_or_kill)
    with pytest.raises(LostProcess, match=r"process 1 of 2 ended with SIGKILL.*--resume"):
        train(blobs, tmp_path / "run", EPOCHS.model_copy(update={"devices": 2}), plan=plan)


def one_batch(plan: Plan) -> Batch:
    return torch.zeros(1, 1, *plan.patch_size), torch.zeros(1, *plan.patch_size, dtype=torch.int64)
