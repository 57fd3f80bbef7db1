"""The training loop of one network: batch, step, average, and now and then a row or a checkpoint.

The loop is the same whether it ends after so many steps or at a moment of the clock: a `Timetable`
knows. What it leaves behind is a checkpoint that a killed training goes on from, bit for bit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from torch import Tensor

from medseg.errors import TrainingStopped
from medseg.progress import SILENT, Progress
from medseg.specs import RecipeSpec
from medseg.training.checkpoint import Checkpoint, save_checkpoint
from medseg.training.data import Batch, Batches
from medseg.training.log import Journal, Row
from medseg.training.module import Learner
from medseg.training.schedule import Clock, Timetable, learning_rate
from medseg.training.signals import listening

CHECKPOINT_SECONDS = 45.0
"""Time between checkpoints; a killed training loses no more than this."""

_ROW_SECONDS, _ROW_SHARE = 2.0, 0.004
"""A row is written after two seconds, or after this share of the time so far if that is more."""

_DICE_EVERY = 4
"""Steps between those whose batch is scored."""

_LOOK_SHARE, _LOOK_COST = 0.05, 0.03
"""A look at held-out cases after each such share of training, if looks take no more than this;
none in the last one, which validation follows."""


class Look(NamedTuple):
    """A quick score on a few held-out cases.

    Attributes:
        score: Their Dice with these weights.
        seconds: What it is expected to take.
    """

    score: Callable[[dict[str, Tensor]], float]
    seconds: float


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


@dataclass(frozen=True, eq=False)
class Trained:
    """What a loop leaves.

    Attributes:
        weights: The averaged weights, on the CPU.
        steps: Steps done, those of earlier runs included.
        epochs: Passes over the training cases.
        training_seconds: Time that they took.
        memory_gb: Largest memory that was seen.
    """

    weights: dict[str, Tensor]
    steps: int
    epochs: float
    training_seconds: float
    memory_gb: float


def fit(
    learner: Learner,
    batches: Batches,
    course: Course,
    *,
    spent: float = 0.0,
    progress: Progress = SILENT,
) -> Trained:
    """Train until the timetable is over.

    Args:
        learner: The network, fresh or restored from a checkpoint.
        batches: What to learn from.
        course: What to go by.
        spent: Seconds of training in earlier runs.
        progress: Told of each step.

    Raises:
        TrainingStopped: If Ctrl-C or SIGTERM came; a checkpoint was written.
        TrainingError: If the gradient did not stay finite.
    """
    loop = _Loop(learner, batches, course, spent)
    total = round(course.timetable.total)
    with (
        _fastest_kernels(learner.device),
        listening() as stop,
        batches.starting_at(learner.steps, workers=course.workers) as feed,
        progress.task(course.name, total) as bar,
    ):
        bar.advance(course.timetable.done(learner.steps))
        while not course.timetable.is_over(learner.steps):
            before = course.timetable.done(learner.steps)
            loop.step(next(feed))
            facts = loop.write_down()
            bar.advance(course.timetable.done(learner.steps) - before, **facts)
            if stop:
                loop.save(finished=False)
                raise TrainingStopped(
                    f"Training was stopped after {learner.steps} steps, and nothing is lost.",
                    received=stop.by,
                    cure="Go on with the same command and --resume.",
                )
        loop.save(finished=True)
    return loop.result()


class _Loop:
    """One run of the loop and what it has seen since the last row."""

    def __init__(self, learner: Learner, batches: Batches, course: Course, spent: float) -> None:
        self.learner, self.batches, self.course = learner, batches, course
        self._spent, self._begin = spent, course.clock()
        self._saved_at = self._row_at = self._begin
        self._row_step = learner.steps
        self._losses: list[float] = []
        self._overlap = torch.zeros(3, 0)
        self._dice = self._rate = 0.0
        self._memory_gb = 0.0
        self._looked_at_share, self._look_seconds = 0.0, 0.0

    @property
    def training_seconds(self) -> float:
        return self._spent + self.course.clock() - self._begin

    def step(self, batch: Batch) -> None:
        """Learn from one batch."""
        done = self.learner.steps
        share = self.course.timetable.share(done)
        self._rate = learning_rate(share, self.course.recipe)
        self.learner.at_share(share)
        loss, logits = self.learner.step(batch, self._rate)
        self._losses.append(loss)
        if done % _DICE_EVERY == 0:
            counts = _overlap(logits, batch[1].to(logits.device))
            self._overlap = self._overlap + counts if self._overlap.numel() else counts

    def write_down(self) -> dict[str, str]:
        """Write a row and a checkpoint where they are due; the facts to show beside the bar."""
        now = self.course.clock()
        facts: dict[str, str] = {}
        if now - self._row_at >= max(_ROW_SECONDS, _ROW_SHARE * now):
            facts = self._write_row(now)
        if now - self._saved_at >= CHECKPOINT_SECONDS:
            self.save(finished=False)
        return facts

    def save(self, *, finished: bool) -> None:
        """Write the checkpoint."""
        if finished and self._losses:
            self._write_row(self.course.clock())
        checkpoint = Checkpoint(
            step=self.learner.steps,
            training_seconds=self.training_seconds,
            command_seconds=self.course.clock(),
            tensors=self.learner.state(),
            facts={"finished": finished, "scaler": self.learner.scaler_state()},
        )
        save_checkpoint(checkpoint, self.course.checkpoint)
        self._saved_at = self.course.clock()

    def result(self) -> Trained:
        """What is left at the end."""
        return Trained(
            weights=self.learner.averaged_weights(),
            steps=self.learner.steps,
            epochs=self.batches.epochs_of(self.learner.steps),
            training_seconds=self.training_seconds,
            memory_gb=max(self._memory_gb, _memory_gb(self.learner.device)),
        )

    def _write_row(self, now: float) -> dict[str, str]:
        steps, share = self.learner.steps, self.course.timetable.share(self.learner.steps)
        seconds = max(now - self._row_at, 1e-9)
        self._memory_gb = max(self._memory_gb, _memory_gb(self.learner.device))
        if self._overlap.numel():
            self._dice = _dice(self._overlap)
        row = Row(
            fold=self.course.fold,
            step=steps,
            epoch=self.batches.epochs_of(steps),
            seconds=now,
            share=share,
            learning_rate=self._rate,
            loss=sum(self._losses) / len(self._losses),
            batch_dice=self._dice,
            validation_dice=self._look(share),
            samples_per_second=(steps - self._row_step) * self.batches.batch_size / seconds,
            memory_gb=self._memory_gb,
        )
        self.course.journal.add(row)
        self._losses, self._overlap = [], torch.zeros(3, 0)
        self._row_at, self._row_step = self.course.clock(), steps
        facts = {
            "loss": f"{row.loss:.3f}",
            "Dice": f"{row.batch_dice:.3f}",
            "samples/s": f"{row.samples_per_second:.1f}",
            "memory": f"{row.memory_gb:.1f} GB",
        }
        if row.validation_dice is not None:
            facts["held_out"] = f"{row.validation_dice:.3f}"
        return facts

    def _look(self, share: float) -> float | None:
        """Score held-out cases if it is time to, and if looks stay cheap."""
        look, due = self.course.look, share - self._looked_at_share >= _LOOK_SHARE
        if look is None or not due or share > 1 - _LOOK_SHARE:
            return None
        if self._look_seconds + look.seconds > _LOOK_COST * self.training_seconds:
            return None
        start = self.course.clock()
        dice = look.score(self.learner.averaged_weights())
        self._look_seconds += self.course.clock() - start
        self._looked_at_share = share
        return dice


def _overlap(logits: Tensor, labels: Tensor) -> Tensor:
    """Voxels of prediction, reference and both, for each structure; shape (3, N - 1), CPU.

    On a CPU `max` finds the classes eight times as fast as `argmax`.
    """
    predicted = logits.max(dim=1).indices.flatten()
    classes = logits.shape[1]
    truth = labels.flatten()
    both = predicted[predicted == truth]
    counts = [torch.bincount(part, minlength=classes)[1:] for part in (predicted, truth, both)]
    return torch.stack(counts).cpu()


def _dice(overlap: Tensor) -> float:
    """Mean Dice of the structures that occur; 0 where none does."""
    predicted, truth, both = overlap.double()
    there = predicted + truth > 0
    return float((2 * both[there] / (predicted + truth)[there]).mean()) if there.any() else 0.0


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


@contextmanager
def _fastest_kernels(device: torch.device) -> Iterator[None]:
    """Let cuDNN try its kernels: batches always have one shape. A CPU has nothing to choose."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
