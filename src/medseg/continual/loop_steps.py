"""The steps of a loop. Each can be done again after a kill, and then has the same end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from medseg.bundle import Bundle, load_bundle
from medseg.continual.loop_scores import compared, displacement_mm
from medseg.continual.loop_state import (
    Candidate,
    CasesChosen,
    DriftFound,
    Evaluated,
    InUse,
    LabelsTaken,
    LoopState,
    Step,
)
from medseg.continual.promotion import Domain, Verdict, judge, offset_of
from medseg.continual.registry import Registry
from medseg.continual.versioned import VersionedData
from medseg.dataset.description import Case, DatasetDescription
from medseg.dataset.importers import open_dataset
from medseg.dataset.plan import Plan
from medseg.dataset.update import update_labels
from medseg.errors import LoopError
from medseg.inference.inputs import CaseInput, find_inputs
from medseg.progress import SILENT, Progress
from medseg.training.crossval import train
from medseg.training.run import FOLDS, RunFolder, RunSettings

_EMA_DECAY = 0.99
"""Of the averaged weights: a short training averages the last hundred steps, not thousands."""


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop at work.

    Attributes:
        folder: Where it lies.
        state: How far it is.
        command: The command line, for the record of the training.
        progress: Told of all that is done.
    """

    folder: Path
    state: LoopState
    command: str = ""
    progress: Progress = field(default=SILENT, repr=False)

    @cached_property
    def registry(self) -> Registry:
        """The bundles."""
        return Registry(self.state.settings.bundles)

    @cached_property
    def start(self) -> Bundle:
        """The bundle that was in use when the loop began."""
        return load_bundle(self.state.settings.bundles / self.state.start)

    @cached_property
    def candidate(self) -> Bundle:
        """What was trained.

        Raises:
            LoopError: If it is not what the record says.
        """
        bundle = load_bundle(RunFolder(self.folder / "train").bundle)
        trained = self.state.train
        if trained is not None and bundle.weights_sha256 != trained.weights_sha256:
            raise LoopError(
                "A candidate is judged as it was trained.",
                received="other weights than the loop noted",
                cure="Begin anew in another folder.",
            )
        return bundle

    @cached_property
    def pool(self) -> tuple[CaseInput, ...]:
        """The images of the new domain."""
        return find_inputs(self.state.settings.pool) if self.state.settings.pool else ()

    def description(self) -> DatasetDescription:
        """The data at hand, which must be those of the version of this loop.

        Raises:
            LoopError: If they are not.
        """
        data = VersionedData(self.state.settings.data)
        taken = self.state.labels
        if taken is not None and data.now(progress=self.progress).digest != taken.version:
            raise LoopError(
                "A loop goes on with the version of the data that it made.",
                received="other files at hand",
                cure=f"Bring them back: medseg version checkout {taken.version[:12]} "
                f"--data {self.state.settings.data}.",
            )
        version = taken.version if taken else ""
        return data.description().model_copy(update={"data_version": version})


def look_for_drift(loop: Loop) -> DriftFound:
    """Whether the pool is still what the bundle in use knows.

    Raises:
        DriftError: If there is nothing to compare with.
    """
    settings = loop.state.settings
    if settings.baseline is None:
        return DriftFound(alarm=None)
    from medseg.continual.drift import check, save_report
    from medseg.continual.drift_baseline import load_baseline

    report = check(
        loop.start, loop.pool, load_baseline(settings.baseline, loop.start),
        folder=loop.folder / "drift", device=settings.device, progress=loop.progress,
    )  # fmt: skip
    save_report(report, loop.folder / "drift")
    moved = tuple(one.name for one in report.moved)
    return DriftFound(alarm=report.alarm, since=report.since, moved=moved)


def choose_cases(loop: Loop) -> CasesChosen:
    """What to label, with masks to correct in `worklist/`; nothing where labels are there.

    Raises:
        DriftError: If no case of the pool can be looked at.
    """
    settings = loop.state.settings
    if settings.labels is not None or not settings.pool:
        return CasesChosen()
    from medseg.continual.active import select
    from medseg.continual.active_worklist import write_worklist

    chosen = select(
        loop.start, loop.pool, settings.count, strategy=settings.strategy, seed=settings.seed,
        folder=loop.folder / "drift", device=settings.device, progress=loop.progress,
    )  # fmt: skip
    place = loop.folder / "worklist"
    if not place.exists():
        write_worklist(
            chosen, loop.pool, loop.start, place, device=settings.device, progress=loop.progress
        )
    return CasesChosen(cases=chosen.cases)


def take_labels(loop: Loop) -> LabelsTaken:
    """Take the new labels into the data, and make a version of them.

    Raises:
        LoopError: If no label is new, or a case of the test set is among the data.
        DatasetError: If labels are of unknown cases.
        LabelError: If they hold unknown values.
        DifferentSpace: If they lie on other grids.
    """
    settings = loop.state.settings
    labels = settings.labels
    if labels is None:
        raise LoopError("Labels are there before they are taken.", cure="Give --labels FOLDER.")
    data = VersionedData(settings.data)
    before = data.manifest(data.find("latest")).by_id
    pool = {case.id: case.images for case in loop.pool}
    for test in (settings.test, settings.new_test):
        if test is not None:
            _require_apart(test, data.description(), pool)
    update_labels(settings.data, labels, images=pool, progress=loop.progress)
    message = f"Labels from {labels.name}, loop {loop.folder.absolute().name}"
    version, _ = data.commit(message, progress=loop.progress)
    manifest = data.manifest(version)
    versions = data.versions()
    if version.message == message and version.number > 1:  # the labels were taken before a kill
        before = data.manifest(versions[version.number - 2]).by_id
    new = tuple(
        case.id
        for case in manifest.cases
        if case.label is not None and (case.id not in before or before[case.id].label != case.label)
    )
    if not new:
        raise LoopError(
            "A loop begins with labels that are new.",
            received=f"none in {labels} that {settings.data} did not have",
            cure="Correct some cases first; worklist/ holds their masks.",
        )
    description = data.description()
    judging = () if settings.new_test else _held_out(description, new, loop)
    apart = {description.case(case).patient or case for case in judging}
    learning = tuple(case for case in new if case not in judging)
    old = [c.id for c in description.cases if c.id not in new and (c.patient or c.id) not in apart]
    rng = np.random.default_rng(settings.seed)
    count = min(len(old), round(settings.replay * len(learning)))
    replayed = tuple(sorted(str(case) for case in rng.permutation(old)[:count]))
    return LabelsTaken(
        version=manifest.digest, new=new, learning=learning, judging=judging, replayed=replayed
    )


def _require_apart(
    test: Path, description: DatasetDescription, pool: Mapping[str, Sequence[Path]]
) -> None:
    """Pass if a test set shares no case or patient with what is, or may be, learned from."""
    judged = open_dataset(test)
    names = {case.id for case in description.all_cases} | set(pool)
    patients = {case.patient for case in description.all_cases if case.patient}
    shared = [c.id for c in judged.cases if c.id in names or (c.patient and c.patient in patients)]
    if shared:
        raise LoopError(
            "A test set has no case and no patient in common with the data and the pool.",
            received=f"{len(shared)} of {test} shared, such as {shared[0]}",
            cure="Take them out of one of the two.",
        )


def _held_out(description: DatasetDescription, new: Sequence[str], loop: Loop) -> tuple[str, ...]:
    """New cases that judge: a share of them, drawn by patient.

    A patient judges with all new cases or with none, and only if the bundle in use has learned from
    none of the patient's cases.
    """
    origin, settings = loop.start.provenance, loop.state.settings
    patient_of = {case.id: case.patient or case.id for case in description.cases}
    known = {patient_of.get(case, case) for case in origin.training_cases}
    by_patient: dict[str, list[str]] = {}
    for name in new:
        if patient_of[name] not in known:
            by_patient.setdefault(patient_of[name], []).append(name)
    wanted = settings.held_out_share * len(new)
    drawn = np.random.default_rng(settings.seed).permutation(sorted(by_patient))
    held: list[str] = []
    for patient in map(str, drawn):
        if len(held) >= wanted or len(held) + len(by_patient[patient]) >= len(new):
            break
        held += by_patient[patient]
    return tuple(sorted(held))


def train_candidate(loop: Loop) -> Candidate:
    """Go on from the bundle in use: new cases and some old ones, at a smaller learning rate.

    Raises:
        LoopError: If the bundle is of several configurations or stages.
        TrainingError: If the training cannot start or go on.
    """
    settings, taken, start = loop.state.settings, loop.state.labels, loop.start
    assert taken is not None
    if len(start.stages) > 1:
        raise LoopError(
            "A loop goes on from a bundle of one configuration.",
            received=f"{len(start.stages)} of them in {start.identity}",
            cure="Train a new one on the version that was made: medseg train DATA.",
        )
    description = loop.description()
    used = {*taken.learning, *taken.replayed}
    cases = tuple(case for case in description.cases if case.id in used)
    folder = loop.folder / "train"
    members = len(start.members)
    bundle = train(
        description.model_copy(update={"cases": cases, "unlabelled": ()}),
        folder,
        RunSettings(
            seconds=settings.seconds, epochs=settings.epochs, arch=start.plan.network.kind,
            config=start.plan.config, folds=tuple(range(min(members, FOLDS))) * (members > 1),
            device=settings.device,
            precision=settings.precision, seed=settings.seed,
        ),
        plan=_gentle(start.plan, settings.learning_rate_share),
        start=start,
        resume=RunFolder(folder).record.is_file(),
        command=loop.command,
        progress=loop.progress,
    )  # fmt: skip
    return Candidate(weights_sha256=bundle.weights_sha256)


def _gentle(plan: Plan, share: float) -> Plan:
    """The plan of the bundle in use, with smaller steps."""
    recipe = plan.recipe
    changed = recipe.model_copy(
        update={
            "learning_rate": recipe.learning_rate * share,
            "muon_learning_rate": recipe.muon_learning_rate * share,
            "ema_decay": min(recipe.ema_decay, _EMA_DECAY),
        }
    )
    return plan.model_copy(update={"recipe": changed})


def evaluate_both(loop: Loop) -> Evaluated:
    """The bundle in use and the candidate, case by case, on both domains.

    Raises:
        MedsegError: If a reference cannot be read.
    """
    settings, taken = loop.state.settings, loop.state.labels
    assert taken is not None
    description = loop.description()
    old = open_dataset(settings.test)
    new = (
        open_dataset(settings.new_test) if settings.new_test else _part(description, taken.judging)
    )
    bundles = {"current": loop.start, "candidate": loop.candidate}
    place = loop.folder / "evaluation"
    domains: dict[Domain, DatasetDescription] = {"old": old, "new": new}
    comparisons = [
        compared(part, bundles, place / domain, domain, settings.device, loop.progress)
        for domain, part in domains.items()
        if part.cases
    ]
    moved = displacement_mm(
        _part(description, taken.new), loop.start, place / "labels", settings.device, loop.progress
    )
    return Evaluated(comparisons=tuple(comparisons), offset=offset_of(moved))


def _part(description: DatasetDescription, names: Sequence[str]) -> DatasetDescription:
    wanted = set(names)
    cases: tuple[Case, ...] = tuple(case for case in description.cases if case.id in wanted)
    return description.model_copy(update={"cases": cases, "unlabelled": ()})


def decide(loop: Loop) -> Verdict:
    """Apply the rule."""
    found = loop.state.evaluate
    assert found is not None
    return judge(loop.state.settings.rule, found.comparisons, found.offset)


def put_in_use(loop: Loop) -> InUse:
    """Promote the candidate, or write down that it was refused.

    Labels that look shifted are taken back: the data become what they were before.

    Raises:
        LoopError: If another bundle was put in use since the loop began.
    """
    verdict = loop.state.decide
    assert verdict is not None
    now = loop.registry.current()
    expected = {loop.start.weights_sha256}
    if verdict.promote:
        expected.add(loop.candidate.weights_sha256)  # promoted before a kill
    if now.weights_sha256 not in expected:
        raise LoopError(
            "A loop replaces the bundle that it was compared with.",
            received=f"{now.identity} in use, compared with {loop.start.identity}",
            cure="Begin another loop from the bundle that is in use now.",
        )
    run = loop.folder.absolute().name
    reasons = (*verdict.why, *(change.sentence for change in verdict.changes))
    if not verdict.promote:
        loop.registry.keep(loop.candidate, why=reasons, run=run)
        if verdict.labels_look_shifted:
            _take_back(loop)
        return InUse(bundle=loop.state.start)
    return InUse(bundle=loop.registry.promote(loop.candidate, why=reasons, run=run))


def _take_back(loop: Loop) -> None:
    """Make a version that holds what the data held before this loop's labels."""
    data, taken = VersionedData(loop.state.settings.data), loop.state.labels
    assert taken is not None
    made = data.find(taken.version)
    latest = data.versions()[-1]
    if latest != made:
        return  # done before a kill, or somebody went on
    before = data.versions()[made.number - 2]
    data.check_out(before.name, force=True, progress=loop.progress)
    data.commit(f"Back to {before.name}: labels look shifted", progress=loop.progress)


Outcome = (
    DriftFound | CasesChosen | LabelsTaken | Candidate | Evaluated | Verdict | InUse
)  # fmt: skip

DOING: Mapping[Step, Callable[[Loop], Outcome]] = {
    "drift": look_for_drift,
    "select": choose_cases,
    "labels": take_labels,
    "train": train_candidate,
    "evaluate": evaluate_both,
    "decide": decide,
    "promote": put_in_use,
}
"""What is done in each step."""
