"""Frames and 2D bundles that are small, and a clock that only moves when it is told to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from small import make_bundle, make_plan

from medseg.bundle import Bundle
from medseg.volume.frames import Frame, Frames, frame_of, numbered
from medseg.volume.volume import Volume

SIZE = (24, 20)
"""Rows and columns."""


class FakeClock:
    """Time passes where somebody sleeps or works, and nowhere else."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


def bundle_2d(**facts: object) -> Bundle:
    return make_bundle(make_plan(dims=2), **facts)


def noise(number: int, channels: int = 1) -> Volume:
    rng = np.random.default_rng(number)
    return frame_of(rng.integers(0, 255, (*SIZE, channels), dtype=np.uint8))


def made_up(
    count: int, *, read: Callable[[int], Volume] = noise, known: bool = True, channels: int = 1
) -> Frames:
    """A sequence in memory; `read` gives the frame of a number."""

    def opened() -> Iterator[Frame]:
        for number in range(1, count + 1):
            yield Frame(number, numbered(number), lambda n=number: read(n))

    return Frames(
        Path("made-up"), "video", SIZE[1], SIZE[0], channels, count if known else None, 25.0, opened
    )
