"""When a series is complete: nothing tells, so it is when nothing of it came for a while."""

import threading
import time
from collections.abc import Callable


class Settling:
    """Series that may still grow, and when each is due.

    What a restart forgets is found again by `Service`'s mending: series without a job.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def arrived(self, series_uid: str, settle_seconds: float) -> None:
        """Something of a series arrived: it is due so many seconds from now."""
        with self._lock:
            self._due[series_uid] = self._clock() + settle_seconds

    def due(self) -> list[str]:
        """Series that are complete; each is given once."""
        now = self._clock()
        with self._lock:
            ready = [uid for uid, at in self._due.items() if at <= now]
            for uid in ready:
                del self._due[uid]
        return ready

    def __len__(self) -> int:
        with self._lock:
            return len(self._due)
