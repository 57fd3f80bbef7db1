"""One fold: a network of each configuration trained in its share of the time, and judged."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from medseg.errors import BudgetTooShort, TrainingError
from medseg.specs.postprocess import PostprocessSpec
from medseg.training.candidates import candidates_of
from medseg.training.checkpoint import Checkpoint, load_checkpoint
from medseg.training.course import Course, Look, Trained
from medseg.training.data import Batches, Part
from medseg.training.fit import fit
from medseg.training.followers import Job, assign
from medseg.training.judge import Panel, validate
from medseg.training.log import Journal
from medseg.training.module import Learner, is_out_of_memory
from medseg.training.outcome import FoldOutcome, predictor_of, results_of, steps_of
from medseg.training.prepare import Run, Split
from medseg.training.probe import Machine
from medseg.training.run import RunFolder
from medseg.training.schedule import BySteps, ByTime, Load, Timetable
from medseg.training.steady import Incident
from medseg.training.team import ALONE, Team
from medseg.training.validation import ValidationCost, quick_dice

FINISH_SECONDS, FINISH_SHARE = 1.5, 0.005
"""Kept for writing bundle, figures and report: so long on a machine with nothing else to do, and
this share of the budget."""

_VALIDATION_SHARE = 0.2
"""Most of a fold's time that validation may take; further cases are left out."""

_LEAST_TRAINING_SHARE = 0.1
"""Least share of the budget that must be left for training, all folds together."""

_LOOK_CASES = 4
"""Held-out cases that are looked at in between."""


class Fold:
    """One fold: a network of each configuration, all judged on the same cases.

    Args:
        runs: The configurations.
        journals: Who writes the rows of each.
        split: Who trains and who judges.
        tried: Post-processing that is tried on each mask.
        end: When all must be trained and judged, in seconds of the clock; None without a limit.
        team: Processes that train it together.
        gpu: Number of the card, where it trains on one.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        journals: Sequence[Journal],
        split: Split,
        tried: tuple[PostprocessSpec, ...],
        *,
        end: float | None,
        team: Team = ALONE,
        gpu: int = 0,
    ) -> None:
        self._runs, self._journals, self._split = runs, journals, split
        self._tried, self._team, self._gpu, self._end = tried, team, gpu, end
        self._begin = runs[0].clock()
        self._load = _load(runs[0].machine)

    def train_and_judge(self, folder: RunFolder) -> FoldOutcome:
        """Train each configuration in its share of the time, then judge the cases.

        Raises:
            TrainingError: If training cannot go on.
        """
        with _enough_memory():
            return self._train_and_judge(folder)

    def _train_and_judge(self, folder: RunFolder) -> FoldOutcome:
        trained: dict[str, Trained] = {}
        owed = 0.0
        for n, (run, journal) in enumerate(zip(self._runs, self._journals, strict=True)):
            end = None
            if self._end is not None:
                now = run.clock()
                end = now + (self._end - owed - now) / (len(self._runs) - n)
            trained[run.name], tail = _train_network(
                run, journal, self._split, end=end, load=self._load, team=self._team, gpu=self._gpu
            )
            owed += tail
        candidates = candidates_of([run.name for run in self._runs])
        panel = Panel(
            description=self._runs[0].description,
            networks={
                run.name: predictor_of(run, trained[run.name].weights, self._split)
                for run in self._runs
            },
            stores={run.name: run.store for run in self._runs},
            candidates=candidates,
            results=results_of(folder, candidates),
            steps=self._tried if self._split.is_held_out else (),
        )
        run = self._runs[0]
        judged = validate(
            panel,
            self._split.validation,
            fold=self._split.fold,
            clock=run.clock,
            until=None if self._end is None else self._end - FINISH_SECONDS * (self._load() - 1),
            progress=run.progress,
        )
        return FoldOutcome(self._split, trained, judged, run.clock() - self._begin)


def _train_network(
    run: Run,
    journal: Journal,
    split: Split,
    *,
    end: float | None,
    load: Load,
    team: Team,
    gpu: int,
) -> tuple[Trained, float]:
    """Train one network.

    Args:
        run: Its configuration.
        journal: Who writes the rows.
        split: Who trains and who judges.
        end: When it must be trained and could be validated; None without a limit of time.
        load: How much slower than alone this machine is.
        team: Processes that train it together.
        gpu: Number of the card.

    Returns:
        The network, and seconds of its part that were left for validation.
    """
    learner = Learner(
        run.plan,
        device=run.machine.device,
        precision=run.precision,
        seed=run.settings.seed,
        team=team,
        gpu=gpu,
        start=run.start_of(split),
        guide=run.guide,
    )
    path = run.folder.checkpoint(split.fold)
    past = _restore(learner, path)
    spent = past.training_seconds if past else 0.0
    batches = Batches(
        run.store,
        split.training,
        run.plan,
        seed=run.settings.seed,
        fold=split.fold,
        part=Part(team.rank, team.size),
    )
    if past and past.facts["finished"]:
        return _trained_before(learner, batches, past), 0.0
    journal.go_back(split.fold, learner.steps)
    cost = _validation_cost(run, split, learner)
    tail = _tail(run, end, cost.whole(split.validation))
    course = Course(
        recipe=run.plan.recipe,
        timetable=_timetable(run, batches, end, tail, load, spent),
        clock=run.clock,
        checkpoint=path,
        journal=journal,
        fold=split.fold,
        name=_name(run, split),
        look=_look(run, split, cost),
        workers=_workers(run.machine),
        team=team,
        threads=_threads(team),
        stop_early=run.settings.stop_early,
    )
    assign(team, _job(run, split, course))
    return fit(learner, batches, course, past=past, progress=run.progress), tail


def _name(run: Run, split: Split) -> str:
    """What the bar of a training is called."""
    is_one_of_several = run.folder.folds.parent != run.folder.path
    config = f" {run.name}" if is_one_of_several else ""
    return f"train{config} fold {split.fold}" if len(run.splits) > 1 else f"train{config}"


def end_of_fold(run: Run, begin: float, share: float) -> float | None:
    """When a fold must be trained and validated; None without a limit of time."""
    budget = run.settings.seconds
    if budget is None:
        return None
    left = budget - _finish_seconds(budget) - begin
    return begin + share * left


def _finish_seconds(budget: float) -> float:
    return FINISH_SECONDS + FINISH_SHARE * budget


def _validation_cost(run: Run, split: Split, learner: Learner) -> ValidationCost:
    predictor = predictor_of(run, learner.averaged_weights(), split)
    timer = time.thread_time if run.machine.device == "cpu" else time.perf_counter
    return ValidationCost(
        predictor, run.description, run.store, split.validation, timer, steps_of(run)
    )


def _restore(learner: Learner, path: Path) -> Checkpoint | None:
    """Go back to the fold's checkpoint, if there is one, and say which it was."""
    if not path.is_file():
        return None
    checkpoint = load_checkpoint(path)
    learner.restore(checkpoint.tensors, checkpoint.facts["scaler"], checkpoint.step)
    return checkpoint


def _trained_before(learner: Learner, batches: Batches, past: Checkpoint) -> Trained:
    """What an earlier run left of a fold that it finished."""
    return Trained(
        weights=learner.averaged_weights(),
        steps=learner.steps,
        epochs=batches.epochs_of(learner.steps),
        training_seconds=past.training_seconds,
        memory_gb=0.0,
        incidents=tuple(Incident(**one) for one in past.facts.get("incidents", ())),
        stopped_early=bool(past.facts.get("stopped_early", False)),
    )


def _job(run: Run, split: Split, course: Course) -> Job:
    """What the other processes need to know of a fold."""
    return Job(
        plan=run.plan,
        store=run.store.folder.resolve(),
        ids=split.training,
        seed=run.settings.seed,
        fold=split.fold,
        device=run.machine.device,
        precision=run.precision,
        workers=course.workers,
        threads=course.threads or torch.get_num_threads(),
    )


def _threads(team: Team) -> int | None:
    """Each process's share of this machine's cores, where all are here."""
    return max(1, torch.get_num_threads() // team.size) if team.shares_machine else None


def _tail(run: Run, end: float | None, validation_seconds: float) -> float:
    """Seconds that are kept for validation: its estimate, up to a share of the time there is."""
    if end is None:
        return 0.0
    return min(validation_seconds, _VALIDATION_SHARE * max(end - run.clock(), 0.0))


def _timetable(
    run: Run,
    batches: Batches,
    end: float | None,
    tail: float,
    load: Load,
    spent: float,
) -> Timetable:
    """Until when this fold trains.

    Raises:
        BudgetTooShort: If the steps before training left too little time.
    """
    if end is None:
        return BySteps(batches.steps_of(run.settings.epochs or 1))
    now, budget = run.clock(), run.settings.seconds or 0.0
    if not spent and end - tail - now < _LEAST_TRAINING_SHARE * budget / run.settings.networks:
        raise BudgetTooShort(
            "The budget covers the whole command, and training needs a good part of it.",
            received=f"{budget:.0f} s, of which {now:.0f} s are over and "
            f"{_finish_seconds(budget):.0f} s are kept for writing the results",
            cure=f"Give --budget {math.ceil(4 * now / 60 + 1)}m or more.",
        )
    finish = FINISH_SECONDS
    return ByTime(run.clock, end=end + finish, tail=tail + finish, load=load, spent=spent)


def _look(run: Run, split: Split, cost: ValidationCost) -> Look:
    """A quick score on the first held-out cases."""
    ids = split.validation[:_LOOK_CASES]

    def score(weights: dict[str, Tensor]) -> tuple[float, ...]:
        predictor = predictor_of(run, weights, split)
        return quick_dice(predictor, [run.store.case(name) for name in ids])

    return Look(score, cost.quick(ids), held_out=len(split.validation))


def _load(machine: Machine) -> Load:
    """A GPU's host thread mostly waits, which says nothing of other processes."""
    return Load() if machine.device == "cpu" else Load(busy=time.monotonic)


def _workers(machine: Machine) -> int:
    """Threads that prepare batches: one beside a CPU's own work, many to feed a GPU."""
    return machine.cores if machine.device == "cuda" else min(1, machine.cores - 1)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Turn torch's ways of running out of memory into one clear sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = "GPU's memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        raise _no_memory(f"the {where} is full, even with one sample at a time") from error


def _no_memory(received: str) -> TrainingError:
    return TrainingError(
        "A training step must fit into memory.",
        received=received,
        cure="Close other programs, or give a --plan with a smaller patch or batch.",
    )
