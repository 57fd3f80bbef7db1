"""Frames at a pace, under a clock that moves only when told: who is dropped, and who never is."""

import pytest
from made_up_sequence import FakeClock, made_up

from medseg.inference.pace import Camera, OnDemand, Source, WallClock


def taken(source: Source, clock: FakeClock, work_seconds: float) -> list[tuple[int, float]]:
    """Numbers and ages of frames, if each is worked on for so long before the next is wanted."""
    found = []
    for arrival in source:
        found.append((arrival.frame.number, clock.now() - arrival.at))
        clock.time += work_seconds
    return found


def test_a_quick_worker_misses_nothing_and_waits() -> None:
    clock = FakeClock()
    camera = Camera(made_up(5), 10.0, clock)
    assert [number for number, _ in taken(camera, clock, 0.04)] == [1, 2, 3, 4, 5]
    assert camera.dropped == 0
    assert clock.now() == pytest.approx(100.0 + 4 * 0.1 + 0.04)


def test_a_slow_worker_gets_the_newest_frame_each_time() -> None:
    clock = FakeClock()
    camera = Camera(made_up(10), 10.0, clock)
    found = taken(camera, clock, 0.25)
    # Wanted at 0, 0.25, 0.5, 0.75 and 1.0 s; frame n comes at (n - 1) / 10 s.
    assert [number for number, _ in found] == [1, 3, 6, 8, 10]
    assert camera.dropped == 5
    assert max(age for _, age in found) <= 0.1 + 1e-9


def test_the_last_frame_is_kept_however_late() -> None:
    clock = FakeClock()
    camera = Camera(made_up(10), 10.0, clock)
    found = taken(camera, clock, 5.0)
    assert [number for number, _ in found] == [1, 10]
    assert camera.dropped == 8


def test_every_frame_is_taken_or_dropped() -> None:
    for work_seconds in (0.0, 0.03, 0.11, 0.5):
        clock = FakeClock()
        camera = Camera(made_up(23, known=False), 12.0, clock)
        assert len(taken(camera, clock, work_seconds)) + camera.dropped == 23


def test_dropped_frames_are_not_read() -> None:
    clock = FakeClock()
    read = []
    camera = Camera(made_up(10, read=lambda n: read.append(n)), 10.0, clock)  # type: ignore[func-returns-value]
    for arrival in camera:
        arrival.frame.read()
        clock.time += 0.25
    assert read == [1, 3, 6, 8, 10]


def test_on_demand_nothing_is_dropped() -> None:
    clock = FakeClock()
    source = OnDemand(made_up(6), clock)
    assert [number for number, _ in taken(source, clock, 9.0)] == [1, 2, 3, 4, 5, 6]
    assert source.dropped == 0


def test_the_clock_of_this_machine_moves() -> None:
    clock = WallClock()
    begin = clock.now()
    clock.sleep(0.001)
    assert clock.now() > begin
