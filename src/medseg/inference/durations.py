"""Percentiles of any number of durations in a fixed room."""

from math import ceil, log

import numpy as np
from pydantic import BaseModel

from medseg.specs import FROZEN

_SHORTEST_S, _RATIO, _COUNT = 1e-6, 1.01, 2080
"""The bins: 1 microsecond to 16 minutes, each 1 % wider than the one before."""


class Spread(BaseModel):
    """How long something took.

    Attributes:
        mean_ms: Milliseconds on average.
        p50_ms: Half of all took at most so long; as the others, true within 1 %.
        p95_ms: 95 % did.
        p99_ms: 99 % did.
        max_ms: The longest.
    """

    model_config = FROZEN

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Durations:
    """Counts durations in bins, so that a day of them takes no more memory than a second.

    Attributes:
        count: How many there are.
        total: Their sum in seconds.
    """

    def __init__(self) -> None:
        self._bins = np.zeros(_COUNT, np.int64)
        self._max = 0.0
        self.count, self.total = 0, 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        place = ceil(log(max(seconds, _SHORTEST_S) / _SHORTEST_S) / log(_RATIO))
        self._bins[min(place, _COUNT - 1)] += 1
        self._max = max(self._max, seconds)
        self.count, self.total = self.count + 1, self.total + seconds

    def percentile(self, percent: float) -> float:
        """The duration in seconds that so many percent do not exceed, within 1 %.

        Raises:
            ValueError: If there is none yet.
        """
        if not self.count:
            raise ValueError("there is no duration yet")
        wanted = max(1, ceil(self.count * percent / 100))
        place = int(np.searchsorted(np.cumsum(self._bins), wanted))
        return min(float(_SHORTEST_S * _RATIO**place), self._max)

    def spread(self) -> Spread | None:
        """Mean and percentiles; None of none."""
        if not self.count:
            return None
        shown = [round(1e3 * self.percentile(percent), 3) for percent in (50, 95, 99)]
        mean, longest = (round(1e3 * s, 3) for s in (self.total / self.count, self._max))
        return Spread(
            mean_ms=mean, p50_ms=shown[0], p95_ms=shown[1], p99_ms=shown[2], max_ms=longest
        )
