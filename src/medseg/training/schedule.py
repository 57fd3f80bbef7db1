"""How long training lasts, and how fast it learns until then.

A clock tells the seconds since the command began, those of earlier interrupted runs included. Tests
hand in a clock of their own.
"""

import math
import time
from collections.abc import Callable
from typing import Protocol

from medseg.specs import RecipeSpec

Clock = Callable[[], float]
"""Seconds that the command has taken so far."""

_POLYNOMIAL_POWER = 0.9
"""nnU-Net's exponent."""

_LOAD_SECONDS, _LOAD_SHARE, _LARGEST_LOAD = 2.0, 0.3, 20.0
"""How often the load is measured, how much a measurement counts, and what is believed at most."""


def command_clock(age_seconds: float = 0.0) -> Clock:
    """A clock that starts at `age_seconds` and never runs backwards.

    Args:
        age_seconds: How long the command has run already: imports count too.
    """
    start = time.monotonic() - age_seconds
    return lambda: time.monotonic() - start


def learning_rate(share: float, recipe: RecipeSpec) -> float:
    """The rate after a share of the training, between 0 and 1.

    It rises linearly during the warm-up and then falls to 0 at the end.
    """
    share = min(max(share, 0.0), 1.0)
    if share < recipe.warmup_share:
        return recipe.learning_rate * share / recipe.warmup_share
    rest = (share - recipe.warmup_share) / (1.0 - recipe.warmup_share)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * rest))
    return recipe.learning_rate * float((1.0 - rest) ** _POLYNOMIAL_POWER)


class Timetable(Protocol):
    """When to stop, and how far training is until then."""

    @property
    def total(self) -> float:
        """The whole training, in steps or seconds."""
        ...

    def done(self, step: int) -> float:
        """How much of `total` is done before this step."""
        ...

    def share(self, step: int) -> float:
        """Share of the training that is done before this step, between 0 and 1."""
        ...

    def is_over(self, step: int) -> bool:
        """Whether this step must not begin any more. Asked once before each step."""
        ...


class BySteps:
    """So many steps, however long they take.

    Args:
        steps: All steps of the training.
    """

    def __init__(self, steps: int) -> None:
        self.total = float(steps)

    def done(self, step: int) -> float:
        """The steps done."""
        return float(step)

    def share(self, step: int) -> float:
        """Steps done, as a share; half a step counts, so that the first rate is not 0."""
        return min(1.0, (step + 0.5) / self.total)

    def is_over(self, step: int) -> bool:
        """Whether all steps are done."""
        return step >= self.total


class Load:
    """How many times slower than alone this thread runs, because others use the processor too.

    It is wall time over the thread's processor time, the last few seconds counting most.

    Args:
        wall: Seconds that pass.
        busy: Seconds that this thread was at work.
    """

    def __init__(self, wall: Clock = time.monotonic, busy: Clock = time.thread_time) -> None:
        self._wall, self._busy = wall, busy
        self._wall_mark, self._busy_mark = wall(), busy()
        self._load = 1.0

    def __call__(self) -> float:
        """At least 1: alone on the machine."""
        wall, busy = self._wall(), self._busy()
        if wall - self._wall_mark >= _LOAD_SECONDS:
            now = (wall - self._wall_mark) / max(busy - self._busy_mark, 1e-3)
            self._load += _LOAD_SHARE * (min(max(1.0, now), _LARGEST_LOAD) - self._load)
            self._wall_mark, self._busy_mark = wall, busy
        return self._load


class ByTime:
    """Until a moment of the clock, however many steps that makes.

    Args:
        clock: Seconds of the command.
        end: When everything must be done, in seconds of the clock.
        tail: What comes after the last step, in seconds on a machine with nothing else to do.
        load: How much longer the tail takes on the machine as it is.
        spent: Seconds of training in an earlier run that is resumed.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        end: float,
        tail: float = 0.0,
        load: Callable[[], float] = lambda: 1.0,
        spent: float = 0.0,
    ) -> None:
        self._clock, self._end, self._tail, self._load = clock, end, tail, load
        self._spent, self._begin, self._last = spent, clock(), clock()
        self._step_seconds = self._share = 0.0

    @property
    def total(self) -> float:
        """Seconds of training as far as can be told now, earlier runs included."""
        return max(self._spent + self._stop_at - self._begin, 0.0)

    def done(self, step: int) -> float:
        """Seconds of training so far."""
        return self._spent + self._clock() - self._begin

    def share(self, step: int) -> float:
        """Time spent as a share of all training time; never less than it was."""
        total = self.total
        share = min(1.0, self.done(step) / total) if total else 1.0
        self._share = max(self._share, share)
        return self._share

    def is_over(self, step: int) -> bool:
        """Whether a step that takes as long as the last ones would end too late."""
        now = self._clock()
        last = now - self._last
        self._step_seconds = max(last, 0.8 * self._step_seconds + 0.2 * last)
        self._last = now
        return now + self._step_seconds > self._stop_at

    @property
    def _stop_at(self) -> float:
        return self._end - self._tail * self._load()
