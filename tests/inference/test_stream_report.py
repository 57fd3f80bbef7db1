"""Counting frames: what came, what was segmented, and how long it took."""

import pytest
from made_up_sequence import made_up

from medseg.inference.pace import Arrival
from medseg.inference.stream_report import MOST_NAMED, Tally


def test_it_counts_and_times() -> None:
    tally, frames = Tally(), list(made_up(3))
    assert (tally.seconds, tally.frames_per_second) == (0.0, 0.0)
    for n, frame in enumerate(frames):
        arrival = Arrival(frame, at=10.0 + n, seconds=0.02)
        tally.add(arrival, 10.5 + n, {"read": 0.01, "network": 0.2}, is_broken=n == 1)
    assert (tally.segmented, tally.broken, tally.broken_numbers, tally.last_number) == (
        2,
        1,
        [2],
        3,
    )
    assert tally.seconds == pytest.approx(2.5)
    assert tally.frames_per_second == pytest.approx(0.8)
    assert tally.spreads()["read"].mean_ms == pytest.approx(30)
    assert tally.spreads()["network"].p99_ms == pytest.approx(200)
    spread = tally.latency.spread()
    assert spread is not None
    assert spread.max_ms == pytest.approx(500)


def test_of_many_broken_frames_the_first_are_named() -> None:
    tally = Tally()
    for frame in made_up(MOST_NAMED + 20):
        tally.add(Arrival(frame, 0.0, 0.0), 1.0, {}, is_broken=True)
    assert tally.broken == MOST_NAMED + 20
    assert tally.broken_numbers == list(range(1, MOST_NAMED + 1))
