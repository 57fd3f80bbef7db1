"""When a series is complete: nothing tells, so it is when nothing of it came for a while."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Growing:
    """A series that may still grow.

    Attributes:
        due: When it is complete, if nothing more of it comes.
        settle_seconds: How long it rests after its last instance, and after its sender has gone.
        is_open: Whether its sender is still in the middle of it; None where nobody can tell.
    """

    due: float
    settle_seconds: float
    is_open: Callable[[], bool] | None


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

    def arrived(
        self, series_uid: str, settle_seconds: float, is_open: Callable[[], bool] | None = None
    ) -> None:
        """Something of a series arrived: it is due so many seconds from now.

        Args:
            series_uid: The series.
            settle_seconds: How long it rests after its last instance.
            is_open: Whether its sender is still in the middle of it: then it is not due, however
                long nothing came; and when that ends, it rests once more, for a sender whose
                connection broke calls again.
        """
        growing = _Growing(self._clock() + settle_seconds, settle_seconds, is_open)
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
                uid for uid, one in self._growing.items() if one.is_open is None and one.due <= now
            ]
            for uid in ready:
                del self._growing[uid]
        return ready

    def _let_go(self, now: float) -> None:
        """Series whose senders have gone rest from now."""
        for uid, one in self._growing.items():
            if one.is_open is not None and not one.is_open():
                self._growing[uid] = _Growing(now + one.settle_seconds, one.settle_seconds, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._growing)
