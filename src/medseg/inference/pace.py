"""How frames arrive: each when it is wanted, or at a pace that does not wait."""

import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from medseg.volume.frames import Frame, Frames


class Clock(Protocol):
    """Tells the time; another one makes a test of hours last a moment."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class WallClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Arrival(NamedTuple):
    """A frame that is there.

    Attributes:
        frame: Which.
        at: When it came, on the clock.
        seconds: How long finding it took; for a video, decoding it.
    """

    frame: Frame
    at: float
    seconds: float


class Source(Protocol):
    """Where frames come from.

    Attributes:
        dropped: Frames that came and were taken by nobody.
    """

    dropped: int

    def __iter__(self) -> Iterator[Arrival]:
        """Frames as they arrive."""
        ...


class OnDemand:
    """Every frame, when it is wanted.

    Args:
        frames: The sequence.
        clock: Tells the time.
    """

    def __init__(self, frames: Frames, clock: Clock) -> None:
        self._frames, self._clock = frames, clock
        self.dropped = 0

    def __iter__(self) -> Iterator[Arrival]:
        """Frames as they are asked for."""
        begin = self._clock.now()
        for frame in self._frames:
            yield Arrival(frame, begin, self._clock.now() - begin)
            begin = self._clock.now()


class Camera:
    """Frames that come at a pace: of those that came since one was last wanted, the newest counts.

    The others are dropped; those of a folder or a DICOM file are then never decoded. The last frame
    of a sequence of known length is never dropped.

    Args:
        frames: The sequence.
        fps: Frames a second; the first one comes when it is first asked for.
        clock: Tells the time.
    """

    def __init__(self, frames: Frames, fps: float, clock: Clock) -> None:
        self._frames, self._fps, self._clock = frames, fps, clock
        self.dropped = 0

    def __iter__(self) -> Iterator[Arrival]:
        """Frames as they come; who asks too early waits."""
        start: float | None = None
        seconds = 0.0
        begin = self._clock.now()
        for frame in self._frames:
            now = self._clock.now()
            seconds += now - begin
            start = now if start is None else start
            due = start + (frame.number - 1) / self._fps
            if due + 1 / self._fps <= now and frame.number != self._frames.count:
                self.dropped += 1
            else:
                if due > now:
                    self._clock.sleep(due - now)
                yield Arrival(frame, due, seconds)
                seconds = 0.0
            begin = self._clock.now()
