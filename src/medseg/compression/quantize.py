"""A bundle in INT8 beside the old one: quantised after its training, or trained for it."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from medseg.bundle import (
    CARD_FILE,
    DESCRIPTION_FILE,
    Bundle,
    Configuration,
    load_bundle,
    save_bundle,
)
from medseg.bundle_weights import WEIGHTS_FILE
from medseg.compression.export import MAX_DICE_LOSS, ExportSettings, Schooled, export
from medseg.compression.patches import TrialData
from medseg.compression.qat import Schooling, between_grids, trained_on
from medseg.dataset.description import DatasetDescription
from medseg.errors import BudgetTooShort, NoEngine
from medseg.files import atomic_folder
from medseg.inference.exported import EngineKind, Exported, networks_of
from medseg.progress import SILENT, Progress
from medseg.training.schedule import Clock, command_clock

_MARGIN = 1.2
"""The second export is given so many times the time that the first one took."""

_LEAST_SHARE = 0.1
"""Least share of the budget that must be left for training."""


@dataclass(frozen=True)
class QuantizeSettings:
    """What is wanted.

    Attributes:
        target: The runtime that INT8 is for.
        train: Whether networks are trained for INT8.
        seconds: Wall time of the whole, if they are.
        steps: Steps of each network, instead of a time.
        max_dice_loss: Mean Dice may fall by so much.
        cases: Whole cases that judge, at most.
        device: Where they are trained.
        seed: Of the training.
    """

    target: EngineKind = "openvino"
    train: bool = False
    seconds: float = 600.0
    steps: int | None = None
    max_dice_loss: float = MAX_DICE_LOSS
    cases: int = 24
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0


def quantize(
    bundle: Bundle,
    data: DatasetDescription,
    out: Path,
    settings: QuantizeSettings,
    *,
    clock: Clock | None = None,
    command: str = "",
    progress: Progress = SILENT,
) -> Exported:
    """Write a bundle with an INT8 engine; nothing is written if it costs too much Dice.

    With training, the weights as they were are quantised first, so that what training gains is
    known; both are held to the Dice of the old bundle in float32.

    Args:
        bundle: A bundle that was saved; it is left as it is.
        data: The data set that it was trained on, or one of its kind.
        out: Folder of the new bundle.
        settings: What is wanted.
        clock: Seconds of the command; starts now by default.
        command: The command line, for the provenance of trained weights.
        progress: Told of all that is done.

    Returns:
        The engine in the new bundle.

    Raises:
        NoEngine: If the bundle was not saved.
        EngineDiffers: If it does not agree with torch, or Dice falls by too much.
        WrongInput: If the data set is not of the bundle's kind.
        BudgetTooShort: If too little time is left for training.
        CannotWrite: If the folder cannot be written.
    """
    clock = clock or command_clock()
    trial, source = TrialData(bundle, data), bundle.folder
    if source is None:
        raise NoEngine("A bundle is saved before it is quantised.", received="one in memory only")
    kept = ExportSettings(settings.target, "int8", settings.max_dice_loss, settings.cases)
    with atomic_folder(out) as temporary:
        if not settings.train:
            copy = _copied(source, temporary)
            found = export(copy, kept, data=data, progress=progress)
        else:
            with TemporaryDirectory(prefix=".partial-", dir=temporary) as scratch:
                trained, schooled = _trained(
                    trial, Path(scratch), settings, clock, command, progress
                )
            saved = save_bundle(trained, temporary)
            found = export(saved, kept, data=data, schooled=schooled, progress=progress)
    return replace(found, folder=out / found.folder.parent.name / found.folder.name)


def _trained(
    trial: TrialData,
    scratch: Path,
    settings: QuantizeSettings,
    clock: Clock,
    command: str,
    progress: Progress,
) -> tuple[Bundle, Schooled]:
    """The bundle with all its networks trained for INT8, and what lies behind it.

    Raises:
        BudgetTooShort: If too little time is left.
    """
    begin, source = clock(), trial.bundle.folder
    plain = ExportSettings(settings.target, "int8", max_dice_loss=1.0, cases=settings.cases)
    copy = _copied(source, scratch / "bundle") if source else trial.bundle
    untrained = export(copy, plain, data=trial.description, progress=progress).record.accuracy
    end = settings.seconds - _MARGIN * (clock() - begin)
    begin = clock()
    if settings.steps is None and end - begin < _LEAST_SHARE * settings.seconds:
        raise BudgetTooShort(
            "The budget covers the whole command, and training needs a good part of it.",
            received=f"{settings.seconds:.0f} s, of which {begin:.0f} s are over and "
            f"{settings.seconds - end:.0f} s are kept for the engine and its judgement",
            cure=f"Give --budget {math.ceil(4 * (settings.seconds - end) / 60)}m or more, or "
            "fewer --cases.",
        )
    schooling = Schooling(scratch, clock, settings.steps, settings.device, settings.seed)
    left = sum(len(one.members) for one in networks_of(trial.bundle))
    changed: dict[int, Configuration] = {}
    for configuration in networks_of(trial.bundle):
        members = []
        for number in range(len(configuration.members)):
            until = clock() + (end - clock()) / left
            start = between_grids(trial, configuration, number, settings.target, progress)
            trained = trained_on(
                trial, configuration, number, start, schooling, end=until, progress=progress
            )
            members.append(trained.weights)
            left -= 1
        changed[id(configuration.members[0])] = replace(configuration, members=tuple(members))
    schooled = Schooled(trial.bundle, clock() - begin, untrained)
    return _with(trial.bundle, changed, command), schooled


def _with(bundle: Bundle, changed: dict[int, Configuration], command: str) -> Bundle:
    """The bundle with other weights."""
    first, *further = (changed[id(one.members[0])] for one in bundle.configurations)
    provenance = bundle.provenance.model_copy(
        update={"command": command, "started_from": bundle.identity}
    )
    return replace(
        bundle,
        members=first.members,
        further=tuple(further),
        provenance=provenance,
        folder=None,
        weights_sha256="",
    )


def _copied(source: Path, folder: Path) -> Bundle:
    """The bundle at another place, byte for byte, without its engines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DESCRIPTION_FILE, WEIGHTS_FILE, CARD_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return load_bundle(folder)
