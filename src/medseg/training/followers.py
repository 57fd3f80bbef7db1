"""The other processes of a training on several devices: how they start, and what they do.

They know nothing but their orders: build the network of a fold, take its state, learn from a part
of the batch of the next step. What is decided, shown or written is process 0's.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGTERM, Signals, signal

import torch
from pydantic import BaseModel
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from medseg.allocator import keep_freed_memory
from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.errors import LostProcess, TrainingError
from medseg.specs import FROZEN
from medseg.training.data import Batch, Batches, Part
from medseg.training.module import Learner, Precision
from medseg.training.probe import Device
from medseg.training.team import (
    ALONE,
    Command,
    Group,
    Health,
    Order,
    Place,
    Team,
    gathered,
    meeting_point,
)

_POLL_SECONDS = 0.05
_GOODBYE_SECONDS = 10.0
"""How long a process may take to end when it is told to."""

_HEAD_BYTES = 8
"""Bytes that say how long the facts before the tensors of a state are."""

_ALL_LIVE = "All processes of a training live until its end."
_GO_ON = "Look at its machine and memory, then go on with --resume."


class Job(BaseModel):
    """What a process needs to learn one fold with the others.

    Attributes:
        plan: Network, loss, recipe and augmentation.
        store: Folder of the preprocessed cases.
        ids: Cases to train on.
        seed: Seed of the run.
        fold: Which fold.
        device: Kind of device.
        precision: Arithmetic.
        workers: Threads that prepare batches ahead.
        threads: Threads of torch on a CPU.
    """

    model_config = FROZEN

    plan: Plan
    store: Path
    ids: tuple[str, ...]
    seed: int
    fold: int
    device: Device
    precision: Precision
    workers: int
    threads: int


def assign(team: Team, job: Job) -> None:
    """As process 0, let all others prepare for a fold.

    Raises:
        TrainingError: If there are fewer samples in a batch than processes.
        MedsegError: If one of them cannot.
    """
    samples = job.plan.recipe.batch_size
    if team.size > samples:
        raise TrainingError(
            "Each process takes a sample of every batch at least.",
            received=f"{team.size} processes and a batch of {samples}",
            cure=f"Give --devices {samples} or fewer, or a --plan with a larger batch_size.",
        )
    if team.size > 1:
        team.order(Order(Command.BEGIN), job.model_dump_json().encode())
        team.worst(Health.WELL)


def align(team: Team, learner: Learner) -> None:
    """As process 0, bring all others to the state of this one."""
    if team.size > 1:
        facts = {"steps": learner.steps, "parts": learner.parts, "scaler": learner.scaler_state()}
        head = json.dumps(facts).encode()
        tensors = {name: tensor.detach().cpu() for name, tensor in learner.state().items()}
        content = len(head).to_bytes(_HEAD_BYTES, "big") + head + save_tensors(tensors)
        team.order(Order(Command.RESTORE), content)
        team.worst(Health.WELL)


def follow(place: Place, *, cuda: bool) -> None:
    """Do what process 0 wants until it says that the training is over.

    Args:
        place: Which process this is, and where all meet.
        cuda: Whether to learn on GPUs.

    Raises:
        LostProcess: If process 0 is gone.
    """
    keep_freed_memory()
    for number in (SIGINT, SIGTERM):
        signal(number, SIG_IGN)  # process 0 hears it too, and says what becomes of it
    if cuda:
        torch.cuda.set_device(place.local_rank)
    with gathered(place, meeting_point(place), cuda=cuda) as group, ExitStack() as feed:
        follower = _Follower(group, place.local_rank, feed)
        while True:
            order, content = group.heard()
            if order.command is Command.END:
                return
            try:
                follower.obey(order, content)
            except Exception as error:
                if group.reported is not error:
                    raise


class _Follower:
    """What a process that follows has at hand: the network and the batches of a fold."""

    def __init__(self, group: Group, gpu: int, open_feed: ExitStack) -> None:
        self._group, self._gpu, self._open_feed = group, gpu, open_feed
        self._learner: Learner
        self._batches: Batches
        self._feed: Iterator[Batch]
        self._workers = 0

    def obey(self, order: Order, content: bytes) -> None:
        """Carry out one order, and report how it went."""
        if order.command is Command.STEP:
            with self._reporting():
                batch = next(self._feed)
            self._learner.at_share(order.share)
            self._learner.step(batch, order.rate)
            return
        with self._reporting():
            if order.command is Command.BEGIN:
                self._begin(Job.model_validate_json(content))
            else:
                self._restore(content)
        self._group.worst(Health.WELL)

    def _begin(self, job: Job) -> None:
        if job.device == "cpu":
            torch.set_num_threads(job.threads)
        self._learner = Learner(
            job.plan, device=job.device, precision=job.precision, seed=job.seed,
            team=self._group, gpu=self._gpu,
        )  # fmt: skip
        self._batches = Batches(
            Store(job.store, job.ids), job.ids, job.plan, seed=job.seed, fold=job.fold,
            part=Part(self._group.rank, self._group.size),
        )  # fmt: skip
        self._workers = job.workers

    def _restore(self, content: bytes) -> None:
        end = _HEAD_BYTES + int.from_bytes(content[:_HEAD_BYTES], "big")
        facts = json.loads(content[_HEAD_BYTES:end])
        self._learner.restore(load_tensors(content[end:]), facts["scaler"], facts["steps"])
        self._learner.parts = facts["parts"]
        self._open_feed.close()
        feed = self._batches.starting_at(facts["steps"], workers=self._workers)
        self._feed = self._open_feed.enter_context(feed)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._group.worst(Health.FAILED, error)
            raise


@contextmanager
def leading(place: Place | None, size: int, *, device: Device) -> Iterator[Team]:
    """The team that this process leads; its other processes end with the block.

    Args:
        place: Where processes meet that somebody else started; None to start them here.
        size: How many processes, where they are started here; 1 needs none.
        device: What they learn on.

    Raises:
        TrainingError: If there are fewer GPUs than processes.
        LostProcess: If one of them does not come, or goes.
    """
    if place is None and device == "cuda" and size > torch.cuda.device_count():
        raise TrainingError(
            "Each process learns on a GPU of its own.",
            received=f"{size} devices, and torch sees {torch.cuda.device_count()} GPUs",
            cure="Give a smaller --devices.",
        )
    if place is None and size == 1:
        yield ALONE
        return
    place = place or Place(rank=0, size=size)
    store = meeting_point(place)
    place = place._replace(port=store.port)
    started = [] if place.is_hosted else _started(place, store, device)
    try:
        with gathered(place, store, cuda=device == "cuda") as group:
            yield group
            group.order(Order(Command.END))
        for process in started:
            process.join(_GOODBYE_SECONDS)
    except LostProcess as error:
        raise _named(error, started) from error
    finally:
        for process in started:
            process.kill()


def _started(place: Place, store: TCPStore, device: Device) -> list[SpawnProcess]:
    """Start the others, and wait until each has said that it is there."""
    context = get_context("spawn")
    processes = []
    for rank in range(1, place.size):
        other = place._replace(rank=rank, local_rank=rank)
        processes.append(context.Process(target=_run, args=(other, device == "cuda"), daemon=True))
        processes[-1].start()
    try:
        while not store.check([_here(rank) for rank in range(1, place.size)]):
            if any(process.exitcode is not None for process in processes):
                raise _named(LostProcess(_ALL_LIVE, cure=_GO_ON), processes)
            time.sleep(_POLL_SECONDS)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    return processes


def _run(place: Place, cuda: bool) -> None:
    """A process that was started here: it ends with the one that started it, and says nothing."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    meeting_point(place).set(_here(place.rank), "yes")
    try:
        follow(place, cuda=cuda)
    except LostProcess:
        sys.exit(1)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _here(rank: int) -> str:
    return f"here-{rank}"


def _named(error: LostProcess, processes: Sequence[SpawnProcess]) -> LostProcess:
    """The error, with the number of the process that is gone and how it ended, if that is known."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        for rank, process in enumerate(processes, 1):
            code = process.exitcode
            if code:
                how = Signals(-code).name if code < 0 else f"code {code}"
                received = f"process {rank} of {len(processes) + 1} ended with {how}"
                return LostProcess(error.rule, received=received, cure=error.cure)
        time.sleep(_POLL_SECONDS)
    return error
