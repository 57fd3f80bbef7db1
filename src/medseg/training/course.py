"""What a training goes by, and what it leaves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from medseg.specs import RecipeSpec
from medseg.training.log import Journal
from medseg.training.schedule import Clock, Timetable
from medseg.training.steady import Incident
from medseg.training.team import ALONE, Team


class Look(NamedTuple):
    """A quick score on a few held-out cases.

    Attributes:
        score: Dice of each of them with these weights; none if no structure is there.
        seconds: What it is expected to take.
        held_out: Cases that the final Dice is measured on, these among them.
    """

    score: Callable[[dict[str, Tensor]], Sequence[float]]
    seconds: float
    held_out: int


@dataclass(frozen=True, eq=False)
class Course:
    """What the loop goes by.

    Attributes:
        recipe: Learning rate and its schedule.
        timetable: When to stop.
        clock: Seconds of the command.
        checkpoint: The checkpoint's file.
        journal: Who writes the rows.
        fold: Which fold.
        name: What the bar is called.
        look: Scores weights on a few held-out cases; None for none.
        workers: Threads that prepare batches ahead.
        team: The processes that learn with this one, which leads them.
        threads: Threads of torch while it learns; None for as many as it has.
        stop_early: Whether to end before the time when held-out cases gain no more.
    """

    recipe: RecipeSpec
    timetable: Timetable
    clock: Clock
    checkpoint: Path
    journal: Journal
    fold: int = 0
    name: str = "train"
    look: Look | None = None
    workers: int = 0
    team: Team = ALONE
    threads: int | None = None
    stop_early: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """What a loop leaves.

    Attributes:
        weights: The averaged weights, on the CPU.
        steps: Steps done, those of earlier runs included.
        epochs: Passes over the training cases.
        training_seconds: Time that they took.
        memory_gb: Largest memory that was seen.
        incidents: What went otherwise than planned.
        stopped_early: Whether it ended before its time, because held-out cases gained no more.
    """

    weights: dict[str, Tensor]
    steps: int
    epochs: float
    training_seconds: float
    memory_gb: float
    incidents: tuple[Incident, ...] = ()
    stopped_early: bool = False
