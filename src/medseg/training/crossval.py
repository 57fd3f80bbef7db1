"""From a described data set to a bundle: one network, or one for each fold.

One training holds a tenth of the patients out and validates on them. A cross-validation trains
several folds, each with an equal share of the budget, several at a time where there are cores or
GPUs for it; its bundle averages their networks, and every case is validated by the network that did
not see it. Several configurations are trained on the same folds; held-out cases tell which of them,
or which two, become the bundle. The first stage of a cascade is trained before all else.
"""

from pathlib import Path

from medseg.bundle import Bundle, load_bundle
from medseg.dataset.cascade import TRAININGS
from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Plan
from medseg.errors import MedsegError
from medseg.networks.start import fresh_tensors
from medseg.progress import SILENT, Progress
from medseg.training.cascade import refining
from medseg.training.configs import prepare_all, require_teachable
from medseg.training.folds import train_folds
from medseg.training.followers import leading
from medseg.training.guide import Guide
from medseg.training.log import Tracker
from medseg.training.outcome import finish, steps_of
from medseg.training.prepare import Split
from medseg.training.run import RunFolder, RunSettings
from medseg.training.schedule import Clock, command_clock
from medseg.training.team import Place


def train(
    description: DatasetDescription,
    folder: Path,
    settings: RunSettings,
    *,
    plan: Plan | None = None,
    start: Bundle | None = None,
    guide: Guide | None = None,
    splits: tuple[Split, ...] = (),
    resume: bool = False,
    clock: Clock | None = None,
    trackers: tuple[Tracker, ...] = (),
    command: str = "",
    place: Place | None = None,
    progress: Progress = SILENT,
) -> Bundle:
    """Train on a data set and leave a bundle in `folder/bundle`.

    Args:
        description: The data set.
        folder: Where the run lies.
        settings: How long, which folds, where.
        plan: A plan to use instead of making one.
        start: A bundle of the same kind of network, whose weights are started from.
        guide: Whoever teaches the network besides the labels.
        splits: Who trains and who judges, where that does not follow from the settings.
        resume: Whether to go on with the run that is there.
        clock: Seconds of the command; starts now by default.
        trackers: Servers that keep curves.
        command: The command line, for the record.
        place: Where other processes wait for this one to lead them; None starts as many as the
            settings have devices.
        progress: Told of all that is done.

    Raises:
        TrainingError: If training cannot start, go on or keep its numbers finite.
        BundleError: If the weights of `start` do not fit the network.
        DatasetError: If the data cannot be used.
        CannotWrite: If the folder cannot be written.
    """
    run_folder = RunFolder(folder)
    if guide is not None:
        require_teachable(settings)
    if start is not None and plan is not None:
        fresh_tensors(plan.network, start.plan.network)
    record = run_folder.open(
        settings,
        description,
        resume=resume,
        started_from=start.identity if start else "",
        taught_by=guide.identity if guide else "",
    )
    if run_folder.is_finished:
        progress.note("This run is finished already.")
        return load_bundle(run_folder.bundle)
    try:
        runs = prepare_all(
            run_folder,
            record,
            description,
            plan=plan,
            start=start,
            guide=guide,
            splits=splits,
            clock=clock or command_clock(),
            command=command,
            progress=progress,
        )
    except MedsegError:
        run_folder.give_up(settings)
        raise
    with leading(place, settings.devices, device=runs[0].machine.device) as team:
        trainings = sum(TRAININGS if run.before else 1 for run in runs)
        runs = tuple(refining(run, trainings, team) for run in runs)
        tried = steps_of(runs[0])
        trained = train_folds(run_folder, runs, tried, team=team, trackers=trackers)
    return finish(run_folder, runs, trained.outcomes, at_once=trained.at_once)
