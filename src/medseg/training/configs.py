"""Several configurations of one run: each with a folder, a plan and a store of its own."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from pydantic import ValidationError

from medseg.bundle import Bundle
from medseg.dataset.description import DatasetDescription
from medseg.dataset.fingerprint import Fingerprint, take_fingerprint
from medseg.dataset.plan import Config, Plan
from medseg.errors import PlanError, TrainingError
from medseg.progress import Progress
from medseg.training.cascade import with_first_stage
from medseg.training.guide import Guide
from medseg.training.prepare import Run, Split, plan_on, prepare
from medseg.training.probe import Machine, choose_device, probe_machine
from medseg.training.run import RunFolder, RunRecord, RunSettings
from medseg.training.schedule import Clock


def prepare_all(
    folder: RunFolder,
    record: RunRecord,
    description: DatasetDescription,
    *,
    plan: Plan | None,
    start: Bundle | None,
    guide: Guide | None = None,
    splits: tuple[Split, ...] = (),
    clock: Clock,
    command: str,
    progress: Progress,
) -> tuple[Run, ...]:
    """Prepare the run, or one run for each configuration that is compared; see `prepare`.

    A configuration that does not fit the data is left out, with a note that says why. Of a cascade
    the first stage is prepared too.

    Raises:
        TrainingError: If a plan or a start is given for several configurations, or a start for a
            cascade.
        PlanError: If no configuration fits the data.
    """
    machine = probe_machine(choose_device(record.settings.device))

    @cache
    def fingerprint() -> Fingerprint:
        return take_fingerprint(description, workers=machine.cores, progress=progress)

    if not record.settings.compare:
        run = prepare(
            folder, record, description, plan=plan, start=start, guide=guide, splits=splits,
            machine=machine,
            fingerprint=fingerprint, clock=clock, command=command, progress=progress,
        )  # fmt: skip
        return _together((run,), record, clock, fingerprint)
    if plan is not None or start is not None:
        raise TrainingError(
            "Each configuration that is compared has a plan and weights of its own.",
            received="--plan" if plan is not None else "--start-from",
            cure="Leave it out, or train one configuration.",
        )
    plans = _plans(folder, record, machine, fingerprint, progress)
    runs = [
        prepare(
            folder.part(config), _record_of(folder, record, config), description, plan=plan,
            machine=machine, fingerprint=fingerprint, clock=clock, command=command,
            progress=progress,
        )
        for config, plan in plans.items()
    ]  # fmt: skip
    return _together(tuple(runs), record, clock, fingerprint)


def require_teachable(settings: RunSettings) -> None:
    """Pass if a teacher can sit beside such a training: one configuration, in one process.

    Raises:
        TrainingError: If it cannot.
    """
    if settings.compare or len(settings.folds) > 1 or settings.devices > 1:
        raise TrainingError(
            "A teacher teaches one network in one process.",
            received=f"{settings.networks} networks on {settings.devices} devices",
            cure="Distil one network at a time, on one device.",
        )


def _together(
    runs: tuple[Run, ...], record: RunRecord, clock: Clock, fingerprint: Callable[[], Fingerprint]
) -> tuple[Run, ...]:
    """The runs, cascades with their first stage, by one clock: that of the latest checkpoint."""
    found = [_complete(run, record, clock, fingerprint) for run in runs]
    stages = [stage for run in found for stage in (run, run.before) if stage]
    latest = max(stage.clock() for stage in stages) - clock()

    def going_on() -> float:
        return latest + clock()

    return tuple(
        replace(run, clock=going_on, before=run.before and replace(run.before, clock=going_on))
        for run in found
    )


def _complete(
    run: Run, record: RunRecord, clock: Clock, fingerprint: Callable[[], Fingerprint]
) -> Run:
    """A run; of a cascade, with its first stage.

    Raises:
        TrainingError: If a cascade is to start from other weights.
    """
    if run.plan.config != "cascade":
        return run
    if run.start is not None:
        raise TrainingError(
            "A cascade starts from drawn weights: others may have seen the cases that its first "
            "stage must not know.",
            received=f"--start-from {run.start.identity}",
            cure="Leave --start-from out, or train 3d_full.",
        )
    settings = record.settings
    if not settings.compare:
        settings = settings.model_copy(update={"config": "cascade"})
    return with_first_stage(run, record, settings, clock, fingerprint)


def _plans(
    folder: RunFolder,
    record: RunRecord,
    machine: Machine,
    fingerprint: Callable[[], Fingerprint],
    progress: Progress,
) -> dict[Config, Plan | None]:
    """A plan for each configuration that fits; None for one that lies there already."""
    settings = record.settings
    wanted = [config for config in settings.compare if config not in record.left_out]
    plans: dict[Config, Plan | None] = dict.fromkeys(wanted)
    missing = [config for config in wanted if not folder.part(config).plan.is_file()]
    if not missing:
        return plans
    refused: dict[Config, PlanError] = {}
    for config in missing:
        try:
            plans[config] = plan_on(machine, fingerprint(), settings, config)
        except PlanError as error:
            refused[config] = error
            del plans[config]
            progress.note(f"{config} is left out: {error}")
    if not plans:
        raise next(iter(refused.values()))
    folder.save(record.model_copy(update={"left_out": (*record.left_out, *refused)}))
    return plans


def _record_of(folder: RunFolder, record: RunRecord, config: Config) -> RunRecord:
    """What one configuration was asked for, with the precision that an earlier run chose."""
    settings = record.settings.model_copy(update={"config": config, "compare": ()})
    asked = record.model_copy(update={"settings": settings, "left_out": ()})
    try:
        found = RunRecord.model_validate_json(folder.part(config).record.read_bytes())
    except (OSError, ValidationError):
        return asked
    chosen = {"precision": found.precision, "precision_why": found.precision_why}
    return asked.model_copy(update=chosen)
