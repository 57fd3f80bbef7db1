"""Stages in threads: order, bounds, errors and stopping."""

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from medseg.inference.pipeline import Pipeline, Stage


class Job:
    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: list[str] = []


def jobs(count: int | None = None) -> Iterator[Job]:
    numbers = itertools.count() if count is None else range(count)
    return (Job(number) for number in numbers)


def mark(name: str) -> Stage[Job]:
    return Stage(name, lambda job: job.seen.append(name))


def test_jobs_come_out_in_order_and_pass_every_stage() -> None:
    with Pipeline(jobs(50), [mark("a"), mark("b")]) as line:
        passed = list(line)
    assert [one.job.number for one in passed] == list(range(50))
    assert all(one.job.seen == ["a", "b"] for one in passed)
    assert all(set(one.seconds) == {"a", "b"} for one in passed)


def test_an_empty_source_gives_nothing() -> None:
    with Pipeline(jobs(0), [mark("a")]) as line:
        assert list(line) == []
        assert list(line) == []


def test_no_more_jobs_are_on_the_way_than_said() -> None:
    taken = []

    def source() -> Iterator[Job]:
        for job in jobs():
            taken.append(job.number)
            yield job

    with Pipeline(source(), [mark("a"), mark("b")], in_flight=3) as line:
        for _ in range(5):
            out = next(line).job.number
            time.sleep(0.02)
            assert len(taken) <= out + 1 + 3


def test_stages_work_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=10)

    # The barrier lets nobody pass unless two jobs are in two stages at once.
    def first(job: Job) -> None:
        if job.number > 0:
            together.wait()

    def second(job: Job) -> None:
        if job.number < 3:
            together.wait()

    with Pipeline(jobs(4), [Stage("a", first), Stage("b", second)]) as line:
        assert len(list(line)) == 4


def test_an_error_comes_after_all_that_was_before_it() -> None:
    later = []

    def breaks(job: Job) -> None:
        if job.number == 3:
            raise ValueError("the fourth")

    stages = [Stage("a", breaks), Stage("b", lambda job: later.append(job.number))]
    out = []
    with pytest.raises(ValueError, match="the fourth"), Pipeline(jobs(), stages) as line:
        out.extend(passed.job.number for passed in line)
    assert later == [0, 1, 2]


def test_an_error_of_the_source_is_raised() -> None:
    def source() -> Iterator[Job]:
        yield Job(0)
        raise OSError("unplugged")

    out = []
    with Pipeline(source(), [mark("a")]) as line, pytest.raises(OSError, match="unplugged"):
        for passed in line:
            out.append(passed.job.number)
    assert out == [0]


def test_after_stop_what_is_on_the_way_still_comes_out() -> None:
    entered = []

    def slow(job: Job) -> None:
        entered.append(job.number)
        time.sleep(0.01)

    with Pipeline(jobs(), [Stage("a", slow), mark("b")]) as line:
        first = next(line)
        line.stop()
        rest = [passed.job.number for passed in line]
    assert [first.job.number, *rest] == entered
    assert len(rest) <= 5


def test_leaving_early_ends_the_threads_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[Job]:
        try:
            yield from jobs()
        finally:
            closed.set()

    with Pipeline(source(), [mark("left early")]) as line:
        next(line)
    assert closed.wait(5)
    assert "left early" not in {thread.name for thread in threading.enumerate()}


def test_at_least_one_job_is_on_the_way() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pipeline(jobs(), [], in_flight=0)
