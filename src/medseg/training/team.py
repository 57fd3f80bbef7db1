"""Processes that learn as one: each takes a part of every batch, and all take the same step.

Process 0 leads. It decides, writes and talks to people; the others wait for its orders. A gradient
is summed over all of them after the backward pass, when each has said that its part went well: so
none waits for another that ran out of memory or failed, and all halve their parts together.

Small numbers travel by gloo, which notices at once that a process is gone; gradients on GPUs by
NCCL.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from medseg.errors import LostProcess, MedsegError, TrainingError

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long a process waits for another that is alive: process 0 validates and plans meanwhile."""

_MEETING = timedelta(minutes=10)
"""How long a process tries to reach the meeting point."""

_BUCKET = 1 << 24
"""Numbers that are summed in one message; so many that the start of a message does not count."""

_NAME = "medseg"


class Place(NamedTuple):
    """Which of several processes this is, and where they meet.

    Attributes:
        rank: Its number; 0 leads.
        size: How many there are.
        local_rank: Its number on this machine: which GPU it takes.
        address: Host name at which they meet.
        port: Port there; 0 lets process 0 choose one.
        is_hosted: Whether somebody else, such as torchrun, keeps the meeting point.
    """

    rank: int
    size: int
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    is_hosted: bool = False


class Health(IntEnum):
    """How a process's part of a step went; the worst counts for all."""

    WELL = 0
    NO_MEMORY = 1
    FAILED = 2


class Command(IntEnum):
    """What process 0 wants from the others."""

    END = 0
    BEGIN = 1
    RESTORE = 2
    STEP = 3


class Order(NamedTuple):
    """A command and its numbers.

    Attributes:
        command: What to do.
        rate: Learning rate of a step.
        share: Share of the training that is done before it.
    """

    command: Command
    rate: float = 0.0
    share: float = 0.0


class Team(Protocol):
    """What a process needs of the others."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    @property
    def shares_machine(self) -> bool:
        """Whether all of several processes were started here, and share its cores."""
        ...

    def worst(self, health: Health, error: Exception | None = None) -> Health:
        """The worst health of all processes; an error is passed on to all others.

        Raises:
            MedsegError: If another failed, its error.
        """
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        ...

    def order(self, order: Order, content: bytes = b"") -> None:
        """As process 0, tell the others what to do."""
        ...


class Alone:
    """One process: nothing to agree on."""

    rank, size = 0, 1
    shares_machine = False

    def worst(self, health: Health, error: Exception | None = None) -> Health:
        """Its own health."""
        return health

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """A sum of one."""

    def order(self, order: Order, content: bytes = b"") -> None:
        """Nobody to tell."""


ALONE: Team = Alone()
"""The default: one device."""


class Group:
    """Several processes, by torch.distributed; open it with `gathered`.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        shares_machine: Whether all were started on this machine.
        reported: The last failure that process 0 knows of.
    """

    def __init__(self, place: Place, store: TCPStore) -> None:
        self.rank, self.size = place.rank, place.size
        self.shares_machine = not place.is_hosted
        self.reported: Exception | None = None
        self._notes = PrefixStore(f"{_NAME}-notes", store)

    def worst(self, health: Health, error: Exception | None = None) -> Health:
        """The worst health of all processes; an error is passed on to all others."""
        if error is not None:
            self.reported = error
            self._notes.set(f"error-{self.rank}", _packed(error))
        every = torch.zeros(self.size, dtype=torch.int64)
        every[self.rank] = health
        self._collective(lambda: dist.all_reduce(every))
        failed = (every == Health.FAILED).nonzero().flatten().tolist()
        if failed and error is None:
            self.reported = _unpacked(self._notes.get(f"error-{failed[0]}").decode())
            raise self.reported
        return Health(int(every.max()))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum; the sum has the same bits on every process."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            self._collective(lambda flat=flat: dist.all_reduce(flat))  # type: ignore[misc]
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def order(self, order: Order, content: bytes = b"") -> None:
        """Tell the others what to do."""
        numbers = torch.tensor([*map(float, order), float(len(content))], dtype=torch.float64)
        self._collective(lambda: dist.broadcast(numbers, src=0))
        if content:
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            self._collective(lambda: dist.broadcast(sent, src=0))

    def heard(self) -> tuple[Order, bytes]:
        """As another than process 0, wait for an order."""
        numbers = torch.zeros(4, dtype=torch.float64)
        self._collective(lambda: dist.broadcast(numbers, src=0))
        command, rate, share, length = numbers.tolist()
        content = torch.zeros(int(length), dtype=torch.uint8)
        if length:
            self._collective(lambda: dist.broadcast(content, src=0))
        return Order(Command(int(command)), rate, share), content.numpy().tobytes()

    def _collective(self, work: Callable[[], T]) -> T:
        """Do something together; a process that is gone ends the training."""
        try:
            return work()
        except RuntimeError as error:
            raise LostProcess(
                "All processes of a training live until its end.",
                received=f"process {self.rank} of {self.size} lost another: "
                + " ".join(str(error).split())[:120],
                cure="Look at that process's machine and memory, then go on with --resume.",
            ) from error


@contextmanager
def gathered(place: Place, store: TCPStore, *, cuda: bool) -> Iterator[Group]:
    """Wait for all processes, and part from them at the end.

    Args:
        place: Which process this is.
        store: Where they meet.
        cuda: Whether gradients lie on GPUs.

    Raises:
        LostProcess: If the meeting point cannot be reached.
    """
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=PrefixStore(_NAME, store),
            rank=place.rank,
            world_size=place.size,
            timeout=_PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise _no_meeting(error) from error
    try:
        yield Group(place, store)
    finally:
        dist.destroy_process_group()


def meeting_point(place: Place) -> TCPStore:
    """The store by which processes find each other; process 0 opens it unless it is hosted.

    Raises:
        LostProcess: If it cannot be reached.
    """
    opens = place.rank == 0 and not place.is_hosted
    try:
        return TCPStore(
            place.address, place.port, place.size, is_master=opens, timeout=_MEETING,
            wait_for_workers=False,
        )  # fmt: skip
    except RuntimeError as error:
        raise _no_meeting(error) from error


def _no_meeting(error: Exception) -> LostProcess:
    return LostProcess(
        "All processes of a training meet at its beginning.",
        received=" ".join(str(error).split())[:200],
        cure="Let each of them reach the address of the first.",
    )


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors in order, so many at a time that their numbers fill a message."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(part.numel() for part in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _packed(error: Exception) -> str:
    """An error as JSON."""
    if isinstance(error, MedsegError):
        return json.dumps([type(error).__name__, error.rule, error.received, error.cure])
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return json.dumps(
        [TrainingError.__name__, "Each process must do its part of a step.", what, ""]
    )


def _unpacked(text: str) -> MedsegError:
    """The error again, of its own class."""
    name, rule, received, cure = json.loads(text)
    kinds = {kind.__name__: kind for kind in _kinds(MedsegError)}
    return kinds.get(name, TrainingError)(rule, received=received, cure=cure)


def _kinds(root: type[MedsegError]) -> Iterator[type[MedsegError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)
