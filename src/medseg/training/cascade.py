"""The training of a cascade: first 3d_low, then a mask for each case, then full resolution.

A network that is shown masks must not learn from masks that are better than those it will get. So
the mask of a case comes from networks that have not trained on it:

* with folds, the first stage trains all five of them, and the mask of a case is that of the network
  whose fold held it out, as nnU-Net does it;
* a single training cross-validates the first stage in three parts of its training cases, and the
  masks of the held-out cases are the mean of the three, as at prediction.

Source:
    Isensee et al., Nature Methods 18, 2021; nnU-Net v2, `3d_cascade_fullres`.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from pydantic import ValidationError

from medseg.dataset.fingerprint import Fingerprint
from medseg.dataset.folds import make_folds
from medseg.dataset.preprocess import Preprocessed
from medseg.dataset.store import Store
from medseg.errors import DatasetError
from medseg.inference.configured import Configured
from medseg.inference.elected import elected
from medseg.inference.engines import TorchMaker
from medseg.training.first_stage import FirstStage
from medseg.training.folds import train_folds
from medseg.training.outcome import FoldOutcome
from medseg.training.prepare import Run, Split, make_splits, prepare
from medseg.training.run import FOLDS, RunFolder, RunRecord, RunSettings
from medseg.training.schedule import Clock
from medseg.training.team import Team
from medseg.training.validation import mean_dice

PARTS = 3
"""Parts of the training cases that the first stage of a single training is cross-validated in: each
network learns from two thirds. Five would take 5/3 of the time for one in eight more cases."""

JUDGED_CASES = 4
"""Held-out cases of each network of a first stage that are judged, for the record: what counts is
the cascade."""


def with_first_stage(
    run: Run,
    record: RunRecord,
    settings: RunSettings,
    clock: Clock,
    fingerprint: Callable[[], Fingerprint],
) -> Run:
    """Prepare the first stage of a cascade.

    Args:
        run: The cascade.
        record: What it was asked for.
        settings: What the whole run was asked for; the first stage has the part of one training.
        clock: Seconds of this command.
        fingerprint: Takes that of the data set.

    Raises:
        DatasetError: If there are too few patients.
        PlanError: If no 3d_low is planned for these data.
    """
    splits, folder = first_stage_splits(run), run.folder.first_stage
    seconds = None if settings.seconds is None else settings.seconds / settings.trainings
    change = {"config": "3d_low", "compare": (), "folds": tuple(range(len(splits)))}
    # Memory decides how coarse 3d_low is: that of the plan, which may be another machine's.
    machine = run.machine._replace(memory_bytes=run.plan.budget.memory_bytes)
    own = settings.model_copy(update=change | {"seconds": seconds})
    before = prepare(
        folder, _record_of(folder, record, own, run), run.description, plan=None, splits=splits,
        machine=machine, fingerprint=fingerprint, clock=clock, command=run.command,
        progress=run.progress,
    )  # fmt: skip
    # Cases that only judge the cascade get a mask too.
    store = Store.build(
        folder.store, run.description, before.plan, ids=run.store.ids,
        workers=run.machine.cores, progress=run.progress,
    )  # fmt: skip
    return replace(run, before=replace(before, store=store))


def first_stage_splits(run: Run) -> tuple[Split, ...]:
    """Who trains and who is held out in the first stage of a cascade.

    Raises:
        DatasetError: If a single training has one patient only.
    """
    if run.settings.folds:
        every = run.settings.model_copy(update={"folds": tuple(range(FOLDS))})
        whole = make_splits(run.folder, run.description, every, run.progress)
    else:
        ids = set(run.splits[0].training)
        cases = tuple(case for case in run.description.cases if case.id in ids)
        part = run.description.model_copy(update={"cases": cases})
        patients = len({case.patient or case.id for case in cases})
        if patients < 2:
            raise DatasetError(
                "The first stage of a cascade leaves cases out, so that no mask comes from a "
                "network that knows the case.",
                received="one patient to train on",
                cure="Add cases, or use --config 3d_full.",
            )
        folds = make_folds(part, count=min(PARTS, patients), seed=run.settings.seed)
        whole = tuple(Split(n, folds.training(n), folds.validation[n]) for n in range(folds.count))
    return tuple(split._replace(validation=split.validation[:JUDGED_CASES]) for split in whole)


def refining(run: Run, trainings: int, team: Team) -> Run:
    """Train the first stage of a cascade, and give each case its mask.

    Args:
        run: A run whose first stage is prepared; another one is given back as it is.
        trainings: How many share the time that is left, this first stage among them.
        team: Processes that share each batch.

    Raises:
        TrainingError: If training cannot go on.
    """
    if run.before is None:
        return run
    before, now = run.before, run.clock()
    if run.settings.seconds is not None:
        end = now + (run.settings.seconds - now) / trainings
        settings = before.settings.model_copy(update={"seconds": end})
        before = replace(before, settings=settings)
    trained = train_folds(before.folder, [before], (), team=team)
    first_stage = _left_by(before, trained.outcomes)
    run = replace(run, before=None, first_stage=first_stage)
    write_masks(run, before, first_stage)
    return run


def write_masks(run: Run, before: Run, first_stage: FirstStage) -> None:
    """Give each case the mask of the networks that do not know it; those that have one keep it.

    Args:
        run: The cascade, in whose store they are kept.
        before: Its first stage, whose store is looked at.
        first_stage: The networks.
    """
    by_networks: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in run.store.ids:
        if not run.store.case(name).has_mask:
            by_networks[first_stage.unaware_of([name])].append(name)
    count = sum(map(len, by_networks.values()))
    plan = run.plan
    with run.progress.task("masks of 3d_low", count) as task:
        for numbers, names in by_networks.items():
            maker = TorchMaker(device=run.machine.device, precision=run.precision)
            networks = Configured(first_stage.only(numbers), maker=maker)
            for name in names:
                seen, case = before.store.case(name), run.store.case(name)
                top = networks.sweep(Preprocessed(seen.image(), None, seen.geometry, seen.original))
                case.keep_mask(elected([top], case.geometry, plan.labels, plan.regions))
                task.advance()


def _left_by(before: Run, outcomes: list[FoldOutcome]) -> FirstStage:
    judged = [one.judgement for fold in outcomes for one in fold.judged[before.name]]
    return FirstStage(
        plan=before.plan,
        members=tuple(fold.trained[before.name].weights for fold in outcomes),
        seen=tuple(frozenset(fold.split.training) for fold in outcomes),
        memory_gb=max(fold.memory_gb for fold in outcomes),
        figures={
            "configuration": before.name,
            "networks": len(outcomes),
            "dice": mean_dice(judged),
            "cases": len(judged),
            "steps": sum(fold.trained[before.name].steps for fold in outcomes),
        },
    )


def _record_of(folder: RunFolder, record: RunRecord, settings: RunSettings, run: Run) -> RunRecord:
    """The record of a first stage: the one it began with, or a new one in the same arithmetic."""
    try:
        found = RunRecord.model_validate_json(folder.record.read_bytes())
        return found.model_copy(update={"settings": settings})
    except (OSError, ValidationError):
        change = {
            "settings": settings, "left_out": (), "folds_at_once": None,
            "precision": run.precision, "precision_why": "that of the cascade",
        }  # fmt: skip
        fresh = record.model_copy(update=change)
        folder.save(fresh)
        return fresh
