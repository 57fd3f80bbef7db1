"""From a described data set to a bundle: one network, or one for each fold.

One training holds a tenth of the patients out and validates on them. A cross-validation trains
several folds in turn, each with an equal share of the budget; its bundle averages their networks,
and every case is validated by the network that did not see it.
"""

import gc
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from medseg.bundle import Bundle, load_bundle
from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.errors import BudgetTooShort, TrainingError
from medseg.networks.start import fresh_tensors
from medseg.progress import SILENT, Progress
from medseg.training.checkpoint import load_checkpoint
from medseg.training.data import Batches
from medseg.training.fit import Course, Look, Trained, fit
from medseg.training.log import Journal, Tracker
from medseg.training.module import Learner
from medseg.training.outcome import Member, finish, predictor_of
from medseg.training.prepare import Run, Split, prepare
from medseg.training.probe import Machine
from medseg.training.run import RunFolder, RunSettings
from medseg.training.schedule import BySteps, ByTime, Clock, Load, Timetable, command_clock
from medseg.training.validation import ValidationCost, quick_dice, validate

FINISH_SECONDS, FINISH_SHARE = 1.5, 0.005
"""Kept for writing bundle, figures and report: so long on a machine with nothing else to do, and
this share of the budget."""

_VALIDATION_SHARE = 0.2
"""Most of a fold's time that validation may take; further cases are left out."""

_LEAST_TRAINING_SHARE = 0.1
"""Least share of the budget that must be left for training, all folds together."""

_LOOK_CASES = 4
"""Held-out cases that are looked at in between."""


def train(
    description: DatasetDescription,
    folder: Path,
    settings: RunSettings,
    *,
    plan: Plan | None = None,
    start: Bundle | None = None,
    resume: bool = False,
    clock: Clock | None = None,
    trackers: tuple[Tracker, ...] = (),
    command: str = "",
    progress: Progress = SILENT,
) -> Bundle:
    """Train on a data set and leave a bundle in `folder/bundle`.

    Args:
        description: The data set.
        folder: Where the run lies.
        settings: How long, which folds, where.
        plan: A plan to use instead of making one.
        start: A bundle of the same kind of network, whose weights are started from.
        resume: Whether to go on with the run that is there.
        clock: Seconds of the command; starts now by default.
        trackers: Servers that keep curves.
        command: The command line, for the record.
        progress: Told of all that is done.

    Raises:
        TrainingError: If training cannot start, go on or keep its numbers finite.
        BundleError: If the weights of `start` do not fit the network.
        DatasetError: If the data cannot be used.
        CannotWrite: If the folder cannot be written.
    """
    run_folder = RunFolder(folder)
    if start is not None and plan is not None:
        fresh_tensors(plan.network, start.plan.network)
    record = run_folder.open(
        settings, description, resume=resume, started_from=start.identity if start else ""
    )
    if run_folder.is_finished:
        progress.note("This run is finished already.")
        return load_bundle(run_folder.bundle)
    run = prepare(
        run_folder,
        record,
        description,
        plan=plan,
        start=start,
        clock=clock or command_clock(),
        command=command,
        progress=progress,
    )
    members = []
    with Journal(folder, trackers) as journal, _enough_memory():
        for n, split in enumerate(run.splits):
            members.append(_train_fold(run, journal, split, share=1.0 / (len(run.splits) - n)))
            gc.collect()
    return finish(run, members)


def _train_fold(run: Run, journal: Journal, split: Split, *, share: float) -> Member:
    """Train and validate one network in its share of the time that is left."""
    begin, load = run.clock(), _load(run.machine)
    end = _end_of_fold(run, begin, share)
    learner = Learner(
        run.plan,
        device=run.machine.device,
        precision=run.precision,
        seed=run.settings.seed,
        start=run.start_of(split),
    )
    path = run.folder.checkpoint(split.fold)
    spent, finished = _restore(learner, path)
    batches = Batches(run.store, split.training, run.plan, seed=run.settings.seed, fold=split.fold)
    if finished:
        epochs = batches.epochs_of(learner.steps)
        trained = Trained(learner.averaged_weights(), learner.steps, epochs, spent, memory_gb=0.0)
    else:
        journal.go_back(split.fold, learner.steps)
        cost = _validation_cost(run, split, learner)
        course = Course(
            recipe=run.plan.recipe,
            timetable=_timetable(run, batches, end, cost.whole(split.validation), load, spent),
            clock=run.clock,
            checkpoint=path,
            journal=journal,
            fold=split.fold,
            name="train" if len(run.splits) == 1 else f"train fold {split.fold}",
            look=_look(run, split, cost),
            workers=_workers(run.machine),
        )
        trained = fit(learner, batches, course, spent=spent, progress=run.progress)
    scores = validate(
        predictor_of(run, trained.weights),
        run.description,
        split.validation,
        fold=split.fold,
        clock=run.clock,
        until=None if end is None else end - FINISH_SECONDS * (load() - 1),
        progress=run.progress,
    )
    return Member(split, trained, scores, run.clock() - begin)


def _end_of_fold(run: Run, begin: float, share: float) -> float | None:
    """When a fold must be trained and validated; None without a limit of time."""
    budget = run.settings.seconds
    if budget is None:
        return None
    left = budget - _finish_seconds(budget) - begin
    return begin + share * left


def _finish_seconds(budget: float) -> float:
    return FINISH_SECONDS + FINISH_SHARE * budget


def _validation_cost(run: Run, split: Split, learner: Learner) -> ValidationCost:
    predictor = predictor_of(run, learner.averaged_weights())
    timer = time.thread_time if run.machine.device == "cpu" else time.perf_counter
    return ValidationCost(predictor, run.description, run.store, split.validation, timer)


def _restore(learner: Learner, path: Path) -> tuple[float, bool]:
    """Go back to the fold's checkpoint, if there is one.

    Returns:
        Seconds of training in earlier runs, and whether this fold was finished.
    """
    if not path.is_file():
        return 0.0, False
    checkpoint = load_checkpoint(path)
    learner.restore(checkpoint.tensors, checkpoint.facts["scaler"], checkpoint.step)
    return checkpoint.training_seconds, bool(checkpoint.facts["finished"])


def _timetable(
    run: Run,
    batches: Batches,
    end: float | None,
    validation_seconds: float,
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
    tail = min(validation_seconds, _VALIDATION_SHARE * max(end - now, 0.0))
    if not spent and end - tail - now < _LEAST_TRAINING_SHARE * budget / len(run.splits):
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

    def score(weights: dict[str, Tensor]) -> float:
        predictor = predictor_of(run, weights)
        return quick_dice(predictor, [run.store.case(name) for name in ids])

    return Look(score, cost.quick(ids))


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
    except torch.OutOfMemoryError as error:
        raise _no_memory("the GPU's memory is full") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _no_memory("the memory is full") from error


def _no_memory(received: str) -> TrainingError:
    return TrainingError(
        "A training step must fit into memory.",
        received=received,
        cure="Close other programs, or give a --plan with a smaller patch or batch.",
    )
