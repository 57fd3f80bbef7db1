"""The training loop of one network: batch, step, average, and now and then a row or a checkpoint.

The loop is the same whether it ends after so many steps or at a moment of the clock: a `Timetable`
knows. What it leaves behind is a checkpoint that a killed training goes on from, bit for bit. A
training that goes wrong goes back to its last good state (`steady.py`), and on from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from medseg.errors import TrainingStopped
from medseg.progress import SILENT, Progress, Task
from medseg.training.batch_dice import mean_dice_of
from medseg.training.checkpoint import Checkpoint, save_checkpoint
from medseg.training.course import Course, Trained
from medseg.training.data import Batch, Batches
from medseg.training.followers import align
from medseg.training.forecast import Forecast, Sight, forecast, has_settled
from medseg.training.log import Row
from medseg.training.module import Learner
from medseg.training.schedule import learning_rate
from medseg.training.signals import StopRequest, listening
from medseg.training.steady import KEEP_EVERY, Incident, Keeper, Trouble
from medseg.training.team import Command, Order

CHECKPOINT_SECONDS, _ANYWHERE = 45.0, 1.1
"""Time between checkpoints; a killed training loses no more than this. They wait for a step whose
state is kept anyway, but no longer than until this multiple of the time."""

_ROW_SECONDS, _ROW_SHARE = 2.0, 0.004
"""A row is written after two seconds, or after this share of the time so far if that is more."""

_DICE_EVERY = 4
"""Steps between those whose batch is scored."""

_LOOK_SHARE, _LOOK_COST = 0.05, 0.03
"""A look at held-out cases after each such share of training, if looks take no more than this;
none in the last one, which validation follows."""


def fit(
    learner: Learner,
    batches: Batches,
    course: Course,
    *,
    past: Checkpoint | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train until the timetable is over.

    Args:
        learner: The network, fresh or restored from `past`.
        batches: What to learn from.
        course: What to go by.
        past: The checkpoint of an earlier run.
        progress: Told of each step.

    Raises:
        TrainingStopped: If Ctrl-C or SIGTERM came; a checkpoint was written.
        TrainingDiverged: If the numbers went wrong again and again.
        LostProcess: If another process of the team is gone.
    """
    loop = _Loop(learner, batches, course, past, progress)
    align(course.team, learner)
    with (
        _fastest_kernels(learner.device, course.threads),
        listening() as stop,
        progress.task(course.name, round(course.timetable.total)) as bar,
    ):
        bar.advance(course.timetable.done(learner.steps))
        while not loop.is_over:
            with batches.starting_at(learner.steps, workers=course.workers) as feed:
                loop.run(feed, bar, stop)
        loop.save(finished=True)
    return loop.result()


class _Loop:
    """One run of the loop and what it has seen since the last row."""

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        course: Course,
        past: Checkpoint | None,
        progress: Progress,
    ) -> None:
        self.learner, self.batches, self.course = learner, batches, course
        self.is_over = False
        self._keeper, self._progress = Keeper(learner, past), progress
        self._spent = past.training_seconds if past else 0.0
        self._saved_at = self._row_at = self._begin = course.clock()
        self._row_step = learner.steps
        self._losses: list[float] = []
        self._overlap = torch.zeros(3, 0)
        self._dice = self._rate = 0.0
        self._memory_gb = 0.0
        self._look_seconds = 0.0
        self._sights = [Sight(*one) for one in past.facts.get("sights", ())] if past else []

    @property
    def training_seconds(self) -> float:
        return self._spent + self.course.clock() - self._begin

    def run(self, feed: Iterator[Batch], bar: Task, stop: StopRequest) -> None:
        """Learn until training is over, or until it went back and needs other batches.

        Raises:
            TrainingStopped: If somebody asked to stop.
        """
        timetable, trouble = self.course.timetable, None
        while not (trouble or self._may_end_early or timetable.is_over(self.learner.steps)):
            before = timetable.done(self.learner.steps)
            trouble = self._step(next(feed))
            facts = {} if trouble else self._write_down()
            bar.advance(timetable.done(self.learner.steps) - before, **facts)
            if stop and not trouble:
                self.save(finished=False)
                raise TrainingStopped(
                    f"Training was stopped after {self._kept_step} steps, and nothing is lost.",
                    received=stop.by,
                    cure="Go on with the same command and --resume.",
                )
        if not trouble and not self.learner.is_sound():
            trouble = "not-finite"
        if trouble:
            self._go_back(trouble)
        else:
            self.is_over = True

    def save(self, *, finished: bool) -> None:
        """Write the checkpoint."""
        if finished and self._losses:
            self._write_row(self.course.clock())
        self._kept_step, tensors, facts = self._keeper.state()
        if finished:
            self._kept_step, tensors = self.learner.steps, self.learner.state()
        checkpoint = Checkpoint(
            step=self._kept_step,
            training_seconds=self.training_seconds,
            command_seconds=self.course.clock(),
            tensors=tensors,
            facts={
                "finished": finished,
                "sights": self._sights,
                "stopped_early": self._may_end_early,
                **facts,
            },
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
            incidents=self._keeper.incidents,
            stopped_early=self._may_end_early,
        )

    @property
    def _may_end_early(self) -> bool:
        return self.course.stop_early and has_settled(self._sights)

    def _step(self, batch: Batch) -> Trouble | None:
        """Learn from one batch; the trouble that training is in with it."""
        done, parts = self.learner.steps, self.learner.parts
        share = self.course.timetable.share(done)
        self._rate = learning_rate(share, self.course.recipe) * self._keeper.rate_factor
        self.learner.at_share(share)
        self.course.team.order(Order(Command.STEP, self._rate, share))
        step = self.learner.step(batch, self._rate)
        if self.learner.parts != parts:
            self._tell(self._keeper.note_parts())
        self._losses.append(step.loss)
        if done % _DICE_EVERY == 0:
            counts = self.learner.overlap.counts(step.logits, batch[1])
            self._overlap = self._overlap + counts if self._overlap.numel() else counts
        return self._keeper.see(step)

    def _write_down(self) -> dict[str, str]:
        """Write a row and a checkpoint where they are due; the facts to show beside the bar."""
        now = self.course.clock()
        facts: dict[str, str] = {}
        if now - self._row_at >= max(_ROW_SECONDS, _ROW_SHARE * now):
            facts = self._write_row(now)
        is_kept = self.learner.steps % KEEP_EVERY == 0
        due = CHECKPOINT_SECONDS if is_kept else _ANYWHERE * CHECKPOINT_SECONDS
        if now - self._saved_at >= due and self._keeper.is_calm and self.learner.is_sound():
            self.save(finished=False)
        return facts

    def _go_back(self, trouble: Trouble) -> None:
        """Go back to the last good state, and keep in writing that it was done.

        Raises:
            TrainingDiverged: If it was done too often.
        """
        self._tell(self._keeper.go_back(trouble))
        align(self.course.team, self.learner)
        self.course.journal.go_back(self.course.fold, self.learner.steps)
        self._losses, self._overlap = [], torch.zeros(3, 0)
        self._row_at, self._row_step = self.course.clock(), self.learner.steps
        self.save(finished=False)

    def _tell(self, incident: Incident) -> None:
        self._progress.note(incident.sentence)

    def _write_row(self, now: float) -> dict[str, str]:
        steps, share = self.learner.steps, self.course.timetable.share(self.learner.steps)
        seconds = max(now - self._row_at, 1e-9)
        self._memory_gb = max(self._memory_gb, _memory_gb(self.learner.device))
        if self._overlap.numel():
            self._dice = mean_dice_of(self._overlap)
        sight = self._look(share)
        told = self._forecast() if sight else None
        row = Row(
            fold=self.course.fold,
            step=steps,
            epoch=self.batches.epochs_of(steps),
            seconds=now,
            share=share,
            learning_rate=self._rate,
            loss=sum(self._losses) / len(self._losses),
            batch_dice=self._dice,
            validation_dice=sight.dice if sight else None,
            samples_per_second=(steps - self._row_step) * self.batches.batch_size / seconds,
            memory_gb=self._memory_gb,
            forecast_dice=told.dice if told else None,
            forecast_error=told.error if told else None,
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
        if told is not None:
            facts["at the end"] = str(told)
        return facts

    def _look(self, share: float) -> Sight | None:
        """Score held-out cases if it is time to, and if looks stay cheap."""
        look, last = self.course.look, self._sights[-1].share if self._sights else 0.0
        if look is None or share - last < _LOOK_SHARE or share > 1 - _LOOK_SHARE:
            return None
        if self._look_seconds + look.seconds > _LOOK_COST * self.training_seconds:
            return None
        start = self.course.clock()
        dice = look.score(self.learner.averaged_weights())
        self._look_seconds += self.course.clock() - start
        self._sights.append(Sight.of(share, dice))
        return self._sights[-1]

    def _forecast(self) -> Forecast | None:
        """The Dice that is expected at the end."""
        look = self.course.look
        return forecast(self._sights, held_out=look.held_out) if look else None


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


@contextmanager
def _fastest_kernels(device: torch.device, threads: int | None) -> Iterator[None]:
    """Let cuDNN try its kernels: batches always have one shape. A CPU gets the course's threads."""
    before, threads_before = torch.backends.cudnn.benchmark, torch.get_num_threads()
    torch.backends.cudnn.benchmark = device.type == "cuda"
    torch.set_num_threads(threads or threads_before)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
        torch.set_num_threads(threads_before)
