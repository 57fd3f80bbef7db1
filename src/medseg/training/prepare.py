"""Everything before the first step: splits, machine, plan, arithmetic and store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from medseg.bundle import Bundle, Provenance
from medseg.dataset.description import DatasetDescription
from medseg.dataset.fingerprint import Fingerprint
from medseg.dataset.folds import (
    Folds,
    foreground_ml,
    holdout,
    load_folds,
    make_folds,
    save_folds,
)
from medseg.dataset.frame import WantedConfig
from medseg.dataset.plan import Plan, load_plan, make_plan, save_plan
from medseg.dataset.store import Store
from medseg.errors import CannotResume, TrainingError
from medseg.networks.start import Start, fresh_tensors
from medseg.progress import Progress
from medseg.specs import Budget
from medseg.training.checkpoint import load_checkpoint
from medseg.training.first_stage import FirstStage
from medseg.training.footprint import peak_memory_gb
from medseg.training.guide import Guide
from medseg.training.module import Precision
from medseg.training.pace import plan_by_steps
from medseg.training.probe import Machine, choose_precision, take_step
from medseg.training.run import FOLDS, RunFolder, RunRecord, RunSettings
from medseg.training.schedule import Clock


class Split(NamedTuple):
    """Who trains and who judges.

    Attributes:
        fold: Number of the fold; 0 for a single training.
        training: Cases to learn from.
        validation: Cases to judge by, in the order they are taken.
    """

    fold: int
    training: tuple[str, ...]
    validation: tuple[str, ...]

    @property
    def is_held_out(self) -> bool:
        """Whether nobody judges who trained."""
        return not set(self.training) & set(self.validation)


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is ready to train.

    Attributes:
        folder: Where it lies.
        settings: What was asked for.
        description: The data set.
        splits: Who trains and who judges, in each network.
        plan: What was decided.
        store: All cases that are used, preprocessed.
        machine: Where it trains.
        precision: In which arithmetic.
        clock: Seconds of the command, those of earlier runs included.
        command: The command line, for the record.
        progress: Told of all that is done.
        start: The bundle whose weights the networks start from; None for drawn ones.
        before: The first stage of a cascade, ready to train; None where there is none, or no more.
        first_stage: What the first stage of a cascade left; None until it is trained.
        prepared_gb: Most memory that this process held until the cases were prepared.
        guide: Whoever teaches the networks besides the labels; None for nobody.
    """

    folder: RunFolder
    settings: RunSettings
    description: DatasetDescription
    splits: tuple[Split, ...]
    plan: Plan
    store: Store
    machine: Machine
    precision: Precision
    clock: Clock
    command: str
    progress: Progress = field(repr=False)
    start: Bundle | None = None
    prepared_gb: float = 0.0
    before: "Run | None" = None
    first_stage: FirstStage | None = None
    guide: Guide | None = None

    @property
    def name(self) -> str:
        """That of its configuration."""
        return self.plan.config

    @property
    def has_seen_validation(self) -> bool:
        """Whether the bundle that it starts from was trained on a case that judges."""
        return self.start is not None and self._is_known_to(self.start.provenance)

    @property
    def teacher_has_seen_validation(self) -> bool:
        """Whether whoever teaches it was trained on a case that judges."""
        return self.guide is not None and self._is_known_to(self.guide.origin)

    def _is_known_to(self, origin: Provenance) -> bool:
        seen = set(origin.training_cases)
        return origin.data_name == self.description.name and any(
            seen & set(split.validation) for split in self.splits
        )

    def start_of(self, split: Split) -> Start | None:
        """The weights that the network of a fold starts from: one member for each, in turn."""
        if self.start is None:
            return None
        members = self.start.members
        return Start(self.start.plan.network, members[split.fold % len(members)])


def prepare(
    folder: RunFolder,
    record: RunRecord,
    description: DatasetDescription,
    *,
    plan: Plan | None,
    start: Bundle | None = None,
    guide: Guide | None = None,
    splits: tuple[Split, ...] = (),
    machine: Machine,
    fingerprint: Callable[[], Fingerprint],
    clock: Clock,
    command: str,
    progress: Progress,
) -> Run:
    """Decide everything that is not decided yet, and preprocess the cases that are used.

    Args:
        folder: The run; what lies there already is kept.
        record: What was asked for, and chosen before.
        description: The data set.
        plan: A plan to use instead of making one.
        start: A bundle whose weights the networks start from.
        guide: Whoever teaches the networks besides the labels.
        splits: Who trains and who judges, where that does not follow from what was asked for.
        machine: Where it trains.
        fingerprint: Takes that of the data set.
        clock: Seconds of this command.
        command: The command line, for the record.
        progress: Told of all that is done.
    """
    settings = record.settings
    splits = splits or make_splits(folder, description, settings, progress)
    if not all(split.is_held_out for split in splits):
        progress.note("Too few cases to hold some out: Dice is measured on the training cases.")
    clock = _continued(clock, folder, splits)
    plan = _planned(folder, description, settings, machine, plan, start, fingerprint, progress)
    precision = _precision(folder, record, plan, machine, progress)
    used = sorted({case for split in splits for case in (*split.training, *split.validation)})
    store = Store.build(
        folder.store, description, plan, ids=used, workers=machine.cores, progress=progress
    )
    prepared_gb = peak_memory_gb()
    progress.note(
        f"{len(used)} cases are prepared; this process has held {prepared_gb:.2f} GB at most so "
        "far, steps that it tried included."
    )
    run = Run(
        folder, settings, description, splits, plan, store, machine, precision, clock, command,
        progress, start, prepared_gb, guide=guide,
    )  # fmt: skip
    if run.has_seen_validation:
        progress.note("The bundle it starts from may have trained on cases that judge: Dice may be "
                      "too high.")  # fmt: skip
    if run.teacher_has_seen_validation:
        progress.note("The teacher has seen cases that judge: Dice may be too high.")
    return run


def make_splits(
    folder: RunFolder, description: DatasetDescription, settings: RunSettings, progress: Progress
) -> tuple[Split, ...]:
    """Who trains and who judges, in each network that is asked for."""
    if not settings.folds:
        return (Split(0, *holdout(description, seed=settings.seed)),)
    parts = _folds(folder, description, settings, progress).validation
    everyone = [case.id for case in description.cases]
    return tuple(
        Split(n, tuple(case for case in everyone if case not in set(parts[n])), tuple(parts[n]))
        for n in settings.folds
    )


def _folds(
    folder: RunFolder, description: DatasetDescription, settings: RunSettings, progress: Progress
) -> Folds:
    """The folds that this run began with, or new ones: those of `medseg dataset split`."""
    if folder.folds.is_file():
        return load_folds(folder.folds, description)
    volumes_ml = foreground_ml(description, progress=progress)
    folds = make_folds(description, count=FOLDS, seed=settings.seed, strata=volumes_ml)
    save_folds(folds, folder.folds)
    return folds


def _continued(clock: Clock, folder: RunFolder, splits: Sequence[Split]) -> Clock:
    """The clock, with the time that an earlier part of this run took until its last checkpoint."""
    paths = [folder.checkpoint(split.fold) for split in splits]
    spent = max(
        (load_checkpoint(path).command_seconds for path in paths if path.is_file()), default=0.0
    )
    return lambda: spent + clock()


def _planned(
    folder: RunFolder,
    description: DatasetDescription,
    settings: RunSettings,
    machine: Machine,
    given: Plan | None,
    start: Bundle | None,
    fingerprint: Callable[[], Fingerprint],
    progress: Progress,
) -> Plan:
    """The plan of this run: the one it began with, the one that was given, or a new one."""
    if folder.plan.is_file():
        plan = load_plan(folder.plan)
        if given is not None and given != plan:
            raise CannotResume(
                "A run is resumed with the plan that it began with.",
                received="another --plan",
                cure="Leave --plan out, or start anew in another folder.",
            )
        return plan
    plan = given or _new_plan(fingerprint(), settings, machine, progress)
    facts = ("channels", "labels", "regions", "ignored_value")
    if any(getattr(plan, fact) != getattr(description, fact) for fact in facts):
        raise TrainingError(
            "A plan is for data of the same channels, labels and regions.",
            received=f"a plan for {plan.dataset}",
            cure="Make one from this data set: medseg plan DATASET --out plan.json.",
        )
    if plan.network.kind != settings.arch:
        raise TrainingError(
            "A plan and --arch name the same kind of network.",
            received=f"a plan of {plan.network.kind} and --arch {settings.arch}",
            cure="Leave --arch out, or make a plan of that kind: medseg plan DATASET --arch NAME.",
        )
    if start is not None:
        _note_start(start, plan, progress)
    save_plan(plan, folder.plan)
    return plan


def _note_start(start: Bundle, plan: Plan, progress: Progress) -> None:
    """Say what the network takes from a bundle.

    Raises:
        BundleError: If its weights do not fit.
    """
    fresh = fresh_tensors(plan.network, start.plan.network)
    progress.note(
        f"Weights start from {start.identity}"
        + (
            f"; drawn anew for {plan.network.classes} classes: {', '.join(fresh)}."
            if fresh
            else "."
        )
    )


def _new_plan(
    fingerprint: Fingerprint, settings: RunSettings, machine: Machine, progress: Progress
) -> Plan:
    """Plan for this machine."""
    plan = plan_on(machine, fingerprint, settings, settings.config)
    if plan.recipe.batch_size >= settings.devices:
        return plan
    progress.note(f"A batch has {settings.devices} patches, one for each device.")
    recipe = plan.recipe.model_copy(update={"batch_size": settings.devices})
    return plan.model_copy(update={"recipe": recipe})


def plan_on(
    machine: Machine, fingerprint: Fingerprint, settings: RunSettings, config: WantedConfig
) -> Plan:
    """A plan of a configuration for this machine, as fast as its network is found to be on it."""
    return plan_by_steps(
        lambda budget: make_plan(fingerprint, budget, config=config, arch=settings.arch),
        budget_of(settings, machine),
        lambda plan: take_step(plan, machine.device, settings.precision),
    )


def budget_of(settings: RunSettings, machine: Machine) -> Budget:
    """What one network may spend: its share of the time, on this machine."""
    return Budget(
        seconds=settings.seconds / settings.networks if settings.seconds else None,
        epochs=settings.epochs,
        memory_bytes=machine.memory_bytes,
        device=machine.device,
        cores=machine.cores,
        gflops=round(machine.gflops, 1),
        preset=settings.preset,
    )


def _precision(
    folder: RunFolder, record: RunRecord, plan: Plan, machine: Machine, progress: Progress
) -> Precision:
    """The arithmetic of this run, chosen once: a resumed run keeps it."""
    if record.precision is not None:
        return record.precision
    precision, why = choose_precision(plan, machine.device, record.settings.precision)
    progress.note(f"Training in {precision}: {why}.")
    folder.save(record.model_copy(update={"precision": precision, "precision_why": why}))
    return precision
