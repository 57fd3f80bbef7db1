"""When a series is complete: nothing tells, so it is when nothing of it came for a while."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

Rest = Callable[[], float | None]
"""Gives seconds, or None while a sender is still in the middle of a series."""


@dataclass(frozen=True)
class _Growing:
    """A series that may still grow.

    Attributes:
        due: When it is complete, if nothing more of it comes.
        rest: How long it rests from now, or None while its sender is still in the middle of it; no
            function where nobody can tell.
    """

    due: float
    rest: Rest | None


class Settling:
    """Series that may still grow, and when each is due.

    What a restart forgets is found again by `loops.remember_forgotten`.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._growing: dict[str, _Growing] = {}
        self._lock = threading.Lock()

    def arrived(self, series_uid: str, settle_seconds: float, rest: Rest | None = None) -> None:
        """Something of a series arrived: it is due so many seconds from now.

        Args:
            series_uid: The series.
            settle_seconds: How long it rests after its last instance.
            rest: Asked for how long it rests from now: None while its sender is still in the
                middle of it. Then it is not due, however long nothing came; and when that ends it
                rests once more, for a sender whose connection broke calls again.
        """
        growing = _Growing(self._clock() + settle_seconds, rest)
        with self._lock:
            self._growing[series_uid] = growing

    def is_growing(self, series_uid: str) -> bool:
        """Whether more of a series is awaited."""
        with self._lock:
            return series_uid in self._growing

    def due(self) -> list[str]:
        """Series that are complete; each is given once."""
        now = self._clock()
        with self._lock:
            self._let_go(now)
            ready = [
                uid for uid, one in self._growing.items() if one.rest is None and one.due <= now
            ]
            for uid in ready:
                del self._growing[uid]
        return ready

    def _let_go(self, now: float) -> None:
        """Series whose senders have gone rest from now."""
        for uid, one in self._growing.items():
            seconds = None if one.rest is None else one.rest()
            if seconds is not None:
                self._growing[uid] = _Growing(now + seconds, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._growing)
