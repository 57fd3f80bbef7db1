"""All folds of a run: one after the other, or several at a time."""

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from medseg.specs.postprocess import PostprocessSpec
from medseg.training.apart import folds_at_once, train_apart
from medseg.training.fold import Fold, end_of_fold
from medseg.training.log import Journal, Tracker
from medseg.training.outcome import FoldOutcome
from medseg.training.prepare import Run
from medseg.training.run import RunFolder, RunRecord
from medseg.training.team import ALONE, Team


class TrainedFolds(NamedTuple):
    """What all folds left.

    Attributes:
        outcomes: Of each fold, in their order.
        at_once: How many were trained at the same time, each in a process of its own.
    """

    outcomes: list[FoldOutcome]
    at_once: int


def train_folds(
    folder: RunFolder,
    runs: Sequence[Run],
    tried: tuple[PostprocessSpec, ...],
    *,
    team: Team = ALONE,
    trackers: tuple[Tracker, ...] = (),
) -> TrainedFolds:
    """Train and judge all folds.

    Args:
        folder: The run.
        runs: Its configurations.
        tried: Post-processing that is tried on each mask.
        team: Processes that share each batch; folds are then trained in turn.
        trackers: Servers that keep curves; folds are then trained in turn.

    Raises:
        TrainingError: If training cannot go on.
    """
    alone = team is ALONE and not trackers
    at_once = _folds_at_once(folder, runs) if alone else 1
    if at_once > 1:
        return TrainedFolds(train_apart(folder, runs, tried, at_once), at_once)
    folds = []
    with ExitStack() as stack:
        journals = [stack.enter_context(Journal(run.folder.path, trackers)) for run in runs]
        splits = runs[0].splits
        for n, split in enumerate(splits):
            end = end_of_fold(runs[0], runs[0].clock(), 1.0 / (len(splits) - n))
            fold = Fold(runs, journals, split, tried, end=end, team=team)
            folds.append(fold.train_and_judge(folder))
            gc.collect()
    return TrainedFolds(folds, 1)


def _folds_at_once(folder: RunFolder, runs: Sequence[Run]) -> int:
    """How many folds are trained at the same time, decided once: a resumed run keeps it.

    The threads of a fold follow from it, and the bits of its weights from these.
    """
    record = RunRecord.model_validate_json(folder.record.read_bytes())
    if record.folds_at_once is None:
        record = record.model_copy(update={"folds_at_once": folds_at_once(runs)})
        folder.save(record)
    return record.folds_at_once or 1
