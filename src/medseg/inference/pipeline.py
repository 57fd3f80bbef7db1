"""Stages in threads of their own, through which jobs pass one after the other.

While one job is in one stage the next is in the stage before. No more than a few are on the way:
one is taken from the source when another has come out, so memory stays the same however long the
source is, and however slow the slowest stage.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

Job = TypeVar("Job")

IN_FLIGHT = 4
"""Jobs on the way: enough that two cores are never idle, and few enough that none waits long."""

_SOURCE_SECONDS = 2.0
"""How long one waits for a source that does not answer."""


class Stage(NamedTuple, Generic[Job]):
    """One step of the work.

    Attributes:
        name: What it is called where times are shown.
        work: Does it; what it makes it keeps in the job.
    """

    name: str
    work: Callable[[Job], None]


@dataclass(frozen=True)
class Passed(Generic[Job]):
    """A job that has come through.

    Attributes:
        job: What came from the source.
        seconds: Time in each stage by its name, waiting left out.
    """

    job: Job
    seconds: dict[str, float] = field(default_factory=dict)


class _End:
    """Nothing comes any more."""


class _Failed(NamedTuple):
    """Nothing comes any more, because of this."""

    error: BaseException


_Given = Passed[Job] | _Failed | _End


class Pipeline(Generic[Job]):
    """Threads, for as long as the block runs; iterate to get the jobs in their order.

    An error of the source or of a stage is raised after all jobs before it have come out. No job
    after it enters a later stage.

    Args:
        source: Where jobs come from. It is asked from a thread of its own, and closed in the end.
        stages: What is done to each job, in this order.
        in_flight: Jobs that are on the way at a time.
    """

    def __init__(
        self, source: Iterator[Job], stages: Sequence[Stage[Job]], *, in_flight: int = IN_FLIGHT
    ) -> None:
        if in_flight < 1:
            raise ValueError("at least one job is on the way")
        self._source, self._stages = source, tuple(stages)
        self._room = threading.Semaphore(in_flight)
        self._stopping = threading.Event()
        self._queues: list[SimpleQueue[_Given[Job]]] = [SimpleQueue() for _ in (*stages, None)]
        self._feeder = threading.Thread(target=self._feed, name="source", daemon=True)
        self._workers = [
            threading.Thread(target=self._work, args=(n,), name=stage.name, daemon=True)
            for n, stage in enumerate(self._stages)
        ]

    def __enter__(self) -> Self:
        for thread in (*self._workers, self._feeder):
            thread.start()
        return self

    def __iter__(self) -> Iterator[Passed[Job]]:
        return self

    def __next__(self) -> Passed[Job]:
        """The next job that has passed all stages."""
        given = self._queues[-1].get()
        if isinstance(given, Passed):
            self._room.release()
            return given
        self._queues[-1].put(_End())
        if isinstance(given, _Failed):
            raise given.error
        raise StopIteration

    def stop(self) -> None:
        """Take no more from the source; what is on the way still comes out."""
        self._stopping.set()
        self._room.release()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the threads. A source that does not answer is left alone after a while."""
        self.stop()
        self._feeder.join(_SOURCE_SECONDS)
        self._queues[0].put(_End())
        for thread in self._workers:
            thread.join()

    def _feed(self) -> None:
        try:
            while self._room.acquire() and not self._stopping.is_set():
                self._queues[0].put(Passed(next(self._source)))
        except StopIteration:
            pass
        except BaseException as error:
            self._queues[0].put(_Failed(error))
        finally:
            if hasattr(self._source, "close"):
                with suppress(Exception):
                    self._source.close()
            self._queues[0].put(_End())

    def _work(self, number: int) -> None:
        stage, given_to, handed_to = self._stages[number], *self._queues[number : number + 2]
        is_over = False
        while not isinstance(given := given_to.get(), _End):
            if is_over:
                continue
            if isinstance(given, Passed):
                begin = time.perf_counter()
                try:
                    stage.work(given.job)
                except BaseException as error:
                    self.stop()
                    given = _Failed(error)
                else:
                    given.seconds[stage.name] = time.perf_counter() - begin
            is_over = isinstance(given, _Failed)
            handed_to.put(given)
        handed_to.put(_End())
