"""Folds at the same time, each in a process of its own.

Threads that share one network wait for each other at every layer; folds share nothing. So as many
folds as there are cores (or GPUs) are trained at once, and what cores are left over are shared out.
A fold does the same whichever process it is in: with as many threads it ends with the same bits.

Folds are dealt out in rounds. A round of fewer folds has more threads for each and so less time.
"""

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from medseg.allocator import keep_freed_memory
from medseg.dataset.cost import training_memory_bytes
from medseg.errors import LostProcess, MedsegError, TrainingStopped
from medseg.files import write_text
from medseg.progress import SILENT, Progress, Task
from medseg.specs.postprocess import PostprocessSpec
from medseg.training.fold import Fold, end_of_fold
from medseg.training.log import LOG_FILE, Journal
from medseg.training.outcome import FoldOutcome
from medseg.training.prepare import Run, Split
from medseg.training.run import RunFolder
from medseg.training.signals import listening

_POLL_SECONDS, _TELL_SECONDS = 0.5, 0.5
"""How often a stop is looked for, and how often a process tells how far it is."""

_GOODBYE_SECONDS = 30.0
"""How long a process that is asked to end may take to write its checkpoint."""

_Kind = Literal["share", "note", "done", "failed", "broken"]


class Round(NamedTuple):
    """Folds that are trained at the same time.

    Attributes:
        splits: The folds.
        threads: Threads of each.
    """

    splits: tuple[Split, ...]
    threads: int


class Since:
    """A clock that other processes of this machine read alike.

    Args:
        seconds: What it shows now.
    """

    def __init__(self, seconds: float) -> None:
        self._offset = seconds - time.monotonic()

    def __call__(self) -> float:
        """Seconds of the command."""
        return self._offset + time.monotonic()


def folds_at_once(runs: Sequence[Run]) -> int:
    """How many folds this machine trains at once: one for each core or GPU, if memory allows."""
    machine, folds = runs[0].machine, len(runs[0].splits)
    if machine.device == "cuda":
        return min(folds, torch.cuda.device_count())
    needed = max(
        training_memory_bytes(
            run.plan.network, run.plan.patch_size, run.plan.recipe.batch_size, device="cpu"
        )
        for run in runs
    )
    return max(1, min(folds, machine.cores, machine.memory_bytes // max(1, needed)))


def rounds_of(splits: Sequence[Split], at_once: int, cores: int) -> tuple[Round, ...]:
    """Deal the folds out.

    Args:
        splits: The folds.
        at_once: How many are trained at the same time, at most.
        cores: Cores that they share.
    """
    groups = [tuple(splits[n : n + at_once]) for n in range(0, len(splits), at_once)]
    return tuple(Round(group, max(1, cores // len(group))) for group in groups)


def train_apart(
    folder: RunFolder, runs: Sequence[Run], tried: tuple[PostprocessSpec, ...], at_once: int
) -> list[FoldOutcome]:
    """Train and judge all folds, several at a time.

    Args:
        folder: The run.
        runs: Its configurations.
        tried: Post-processing that is tried on each mask.
        at_once: How many folds are trained at the same time.

    Raises:
        TrainingStopped: If Ctrl-C or SIGTERM came; checkpoints were written.
        MedsegError: What went wrong in one of the processes, which ends the others.
        LostProcess: If a process ended without a word.
    """
    run = runs[0]
    rounds = rounds_of(run.splits, at_once, run.machine.cores)
    outcomes: list[FoldOutcome] = []
    for n, round_ in enumerate(rounds):
        share = (1 / round_.threads) / sum(1 / later.threads for later in rounds[n:])
        end = end_of_fold(run, run.clock(), share)
        jobs = [
            _job(folder, runs, split, tried, end, round_.threads, number)
            for number, split in enumerate(round_.splits)
        ]
        outcomes += _Round(jobs, run.progress).outcomes()
    for one in runs:
        _join_logs(one)
    return outcomes


@dataclass(frozen=True, eq=False)
class _Job:
    """What a process needs to know."""

    folder: RunFolder
    runs: tuple[Run, ...]
    split: Split
    tried: tuple[PostprocessSpec, ...]
    end: float | None
    threads: int
    gpu: int


def _job(
    folder: RunFolder,
    runs: Sequence[Run],
    split: Split,
    tried: tuple[PostprocessSpec, ...],
    end: float | None,
    threads: int,
    number: int,
) -> _Job:
    machine = runs[0].machine._replace(cores=threads)
    clock = Since(runs[0].clock())
    own = tuple(replace(run, machine=machine, clock=clock, progress=SILENT) for run in runs)
    gpu = number if machine.device == "cuda" else 0
    return _Job(folder, own, split, tried, end, threads, gpu)


class _Round:
    """Processes that run at the same time, and what they tell."""

    def __init__(self, jobs: Sequence[_Job], progress: Progress) -> None:
        self._progress = progress
        self._workers: dict[Connection, tuple[SpawnProcess, int]] = {}
        self._found: dict[int, FoldOutcome] = {}
        self._failed: list[MedsegError] = []
        self._bars: dict[int, Task] = {}
        self._shares: dict[int, float] = {}
        self._is_ending = False
        context = get_context("spawn")
        for job in jobs:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, there), daemon=True)
            process.start()
            there.close()
            self._workers[here] = (process, job.split.fold)

    def outcomes(self) -> list[FoldOutcome]:
        """What all folds left, in their order."""
        folds = [fold for _, fold in self._workers.values()]
        processes = [process for process, _ in self._workers.values()]
        try:
            with listening() as stop, ExitStack() as stack:
                for fold in folds:
                    bar = self._progress.task(f"train fold {fold}", 1.0)
                    self._bars[fold], self._shares[fold] = stack.enter_context(bar), 0.0
                while self._workers:
                    for pipe in connection.wait(list(self._workers), _POLL_SECONDS):
                        self._hear(pipe)  # type: ignore[arg-type]
                    if stop or self._failed:
                        self._end()
        finally:
            for process in processes:
                process.join(_GOODBYE_SECONDS if self._is_ending else 0.0)
                process.kill()
        self._raise(stopped_by=stop.by)
        return [self._found[fold] for fold in folds]

    def _hear(self, pipe: Connection) -> None:
        """Take one message of a process, or note that it is gone."""
        process, fold = self._workers[pipe]
        try:
            kind, content = pipe.recv()
        except EOFError:
            del self._workers[pipe]
            process.join()
            if fold not in self._found and not self._is_ending:
                self._failed.append(_lost(fold, process.exitcode))
            return
        self._take(kind, content, fold)

    def _take(self, kind: _Kind, content: Any, fold: int) -> None:
        match kind:
            case "share":
                self._bars[fold].advance(max(0.0, content - self._shares[fold]))
                self._shares[fold] = max(content, self._shares[fold])
            case "note":
                self._progress.note(f"Fold {fold}: {content}")
            case "done":
                self._found[fold] = pickle.loads(content)
            case "failed":
                self._failed.append(content)
            case "broken":
                raise RuntimeError(f"fold {fold} failed:\n{content}")

    def _end(self) -> None:
        """Ask all that still run to write their checkpoint and end."""
        if not self._is_ending:
            for process, _ in self._workers.values():
                process.terminate()
        self._is_ending = True

    def _raise(self, *, stopped_by: str) -> None:
        """Say what went wrong: the first fault, or that it was stopped."""
        faults = [error for error in self._failed if not isinstance(error, TrainingStopped)]
        if faults:
            raise faults[0]
        if stopped_by or self._failed:
            raise TrainingStopped(
                "Training of several folds was stopped, and nothing is lost.",
                received=stopped_by or self._failed[0].received,
                cure="Go on with the same command and --resume.",
            )


def _lost(fold: int, code: int | None) -> LostProcess:
    return LostProcess(
        "The process of a fold lives until the fold is done.",
        received=f"that of fold {fold} ended with code {code}",
        cure="Look at the machine and its memory, then go on with --resume.",
    )


class _Telling:
    """Progress of a fold, told to the process that started it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def task(self, what: str, total: float | None) -> "_TellingTask":
        """A bar; of that of the training, the share that is done is told."""
        return _TellingTask(self._pipe, total if what.startswith("train") else None)

    def note(self, message: str) -> None:
        """Pass a sentence on."""
        self._pipe.send(("note", message))


class _TellingTask:
    def __init__(self, pipe: Connection, total: float | None) -> None:
        self._pipe, self._total = pipe, total
        self._done, self._told_at = 0.0, 0.0

    def __enter__(self) -> "_TellingTask":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: float = 1, **facts: str) -> None:
        self._done += steps
        now = time.monotonic()
        if self._total and now - self._told_at >= _TELL_SECONDS:
            self._pipe.send(("share", min(1.0, self._done / self._total)))
            self._told_at = now


def _work(job: _Job, pipe: Connection) -> None:
    """A process: train and judge one fold, and tell what came of it."""
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process hears it and says SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # between steps, where nobody listens
    torch.set_num_threads(job.threads)
    if job.runs[0].machine.device == "cuda":
        torch.cuda.set_device(job.gpu)
    runs = tuple(replace(run, progress=_Telling(pipe)) for run in job.runs)
    try:
        with ExitStack() as stack:
            journals = [
                stack.enter_context(Journal(_folder_of(run, job.split.fold))) for run in runs
            ]
            fold = Fold(runs, journals, job.split, job.tried, end=job.end, gpu=job.gpu)
            outcome = fold.train_and_judge(job.folder)
    except MedsegError as error:
        pipe.send(("failed", error))
    except Exception:
        pipe.send(("broken", traceback.format_exc()))
    else:
        # Bytes and not tensors: torch would share their memory, which ends with this process.
        pipe.send(("done", pickle.dumps(outcome)))


def _end_with_parent() -> None:
    """Nobody trains on after the process that started it is gone: another may go on there."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _folder_of(run: Run, fold: int) -> Path:
    """Where a process keeps the curves of its fold."""
    return run.folder.path / "folds" / f"fold_{fold}"


def _join_logs(run: Run) -> None:
    """Make one `log.csv` of those of all folds."""
    lines: list[str] = []
    for split in run.splits:
        path = _folder_of(run, split.fold) / LOG_FILE
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        lines += rows if lines else [header, *rows]
    write_text(run.folder.path / LOG_FILE, "\n".join(lines) + "\n")
