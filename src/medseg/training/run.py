"""The folder of a run: who it belongs to, and whether a training may begin or go on there."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from medseg.dataset.cascade import TRAININGS
from medseg.dataset.description import DatasetDescription
from medseg.dataset.plan import Config, Plan
from medseg.errors import CannotResume, PlanError, TrainingError
from medseg.files import write_text
from medseg.networks.build import names
from medseg.specs import FROZEN
from medseg.specs.training import Preset
from medseg.training.judged import OutOfFold
from medseg.training.module import Precision


class RunSettings(BaseModel):
    """What was asked for.

    Attributes:
        seconds: Wall time of the whole command; None when `epochs` counts.
        epochs: Passes over the training cases; None when `seconds` counts.
        arch: Kind of network.
        config: 2D, 3D, 3D at a coarser resolution, a cascade of both, or the planner's choice.
        compare: Configurations that are trained beside each other; the best one, or two of them
            together, becomes the bundle. None trains `config` alone.
        preset: Size of card to plan for; None is nnU-Net's default.
        folds: Folds of five to train in turn; none trains one network and holds a part out.
        device: Where to train.
        precision: Arithmetic, or "auto" for what is fastest here.
        seed: Seed of weights, order, augmentation and folds.
        devices: Processes that share each batch, one for each GPU or on the CPU.
        stop_early: Whether training may end before its time when held-out cases gain no more.
    """

    model_config = FROZEN

    seconds: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, ge=1)
    arch: str = "plain_unet"
    config: Config | Literal["auto"] = "auto"
    compare: tuple[Config, ...] = ()
    preset: Preset | None = None
    folds: tuple[int, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision | Literal["auto"] = "auto"
    seed: int = Field(default=0, ge=0)
    devices: int = Field(default=1, ge=1)
    stop_early: bool = False

    @model_validator(mode="after")
    def _check(self) -> "RunSettings":
        if (self.seconds is None) == (self.epochs is None):
            raise ValueError("either seconds or epochs say how long")
        if len(set(self.folds)) != len(self.folds) or not set(self.folds) <= set(range(FOLDS)):
            raise ValueError(f"folds are numbers from 0 to {FOLDS - 1}, each once")
        if len(set(self.compare)) != len(self.compare) or len(self.compare) == 1:
            raise ValueError("at least two configurations are compared, each once")
        return self

    @property
    def trainings(self) -> int:
        """Trainings that share the time: one for each configuration, and two for a cascade."""
        configs = self.compare or (self.config,)
        return sum(TRAININGS if config == "cascade" else 1 for config in configs)

    @property
    def networks(self) -> int:
        """How many shares the time has: each is that of a training in one fold."""
        return max(1, len(self.folds)) * self.trainings


FOLDS = 5
"""Parts of a cross-validation."""


class RunRecord(BaseModel):
    """What a run folder belongs to.

    Attributes:
        settings: What was asked for.
        dataset: Name of the data set.
        cases_hash: SHA-256 over the ids of its cases.
        precision: The arithmetic that was chosen; None before it was.
        precision_why: Why, as one sentence.
        started_from: The bundle whose weights it starts from; empty for none.
        taught_by: The bundle that teaches it; empty for none.
        left_out: Configurations that were to be compared and do not fit the data.
        folds_at_once: How many folds are trained at the same time; None before it was decided.
    """

    model_config = FROZEN

    settings: RunSettings
    dataset: str
    cases_hash: str
    precision: Precision | None = None
    precision_why: str = ""
    started_from: str = ""
    taught_by: str = ""
    left_out: tuple[Config, ...] = ()
    folds_at_once: int | None = None


class RunFolder:
    """Names of what lies in a run folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record, self.plan = path / "run.json", path / "plan.json"
        self.store, self.bundle = path / "store", path / "bundle"
        self.folds = path / "folds.json"
        self.metrics = path / "metrics.json"
        self.masks, self.judged = path / "out_of_fold", path / "judged"

    def checkpoint(self, fold: int) -> Path:
        """The checkpoint of a fold."""
        return self.path / "checkpoint" / f"fold_{fold}.safetensors"

    def part(self, config: str) -> "RunFolder":
        """The folder of one configuration among several, which share their folds."""
        part = RunFolder(self.path / config)
        part.folds = self.folds
        return part

    @property
    def first_stage(self) -> "RunFolder":
        """The folder of a cascade's first stage."""
        return self.part("first_stage")

    def results(self, candidate: str = "") -> OutOfFold:
        """Where masks and records of held-out cases are kept: the bundle's, or a candidate's."""
        if not candidate:
            return OutOfFold(self.masks, self.judged)
        folder = self.path / "candidates" / candidate
        return OutOfFold(folder / "out_of_fold", folder / "judged")

    @property
    def is_finished(self) -> bool:
        """Whether its training came to its end."""
        return self.metrics.is_file() and self.bundle.is_dir()

    def save(self, record: RunRecord) -> None:
        """Write the record."""
        write_text(self.record, record.model_dump_json(indent=1) + "\n")

    def open(
        self,
        settings: RunSettings,
        description: DatasetDescription,
        *,
        resume: bool,
        started_from: str = "",
        taught_by: str = "",
    ) -> RunRecord:
        """Begin a run here, or go on with the one that is here.

        Args:
            settings: What is asked for.
            description: The data set.
            resume: Whether to go on.
            started_from: The bundle whose weights it starts from; empty for none.
            taught_by: The bundle that teaches it; empty for none.

        Raises:
            TrainingError: If another run is here and it is not to be resumed.
            CannotResume: If there is none to resume, or it is another one.
        """
        ids = json.dumps([case.id for case in description.cases])
        asked = RunRecord(
            settings=settings,
            dataset=description.name,
            cases_hash=hashlib.sha256(ids.encode()).hexdigest(),
            started_from=started_from,
            taught_by=taught_by,
        )
        if resume:
            return self._resumed(asked)
        _require_known(settings.arch)
        there = self._there(settings)
        if there:
            raise TrainingError(
                f"A run has a folder of its own; {self.path} holds one already.",
                received=", ".join(path.name for path in there),
                cure="Choose another --out, or go on with that run: --resume.",
            )
        self.save(asked)
        return asked

    def give_up(self, settings: RunSettings) -> None:
        """Take back a run that was refused before it had a plan, so that another can begin here."""
        there = self._there(settings)
        if set(there) <= {self.record, self.folds}:
            for path in there:
                path.unlink()
            with contextlib.suppress(OSError):  # it holds something else
                self.path.rmdir()

    def _there(self, settings: RunSettings) -> list[Path]:
        """What a run of these settings leaves, as far as it is here."""
        ours = (
            self.record, self.plan, self.folds, self.store, self.bundle, self.metrics, self.masks,
            self.judged, self.first_stage.path,
            *(self.path / config for config in settings.compare),
        )  # fmt: skip
        return [path for path in ours if path.exists()]

    def _resumed(self, asked: RunRecord) -> RunRecord:
        if not self.record.is_file():
            raise CannotResume(
                "Only a run that began can be resumed.",
                received=f"no run in {self.path}",
                cure="Leave --resume out to begin one.",
            )
        try:
            found = RunRecord.model_validate_json(self.record.read_bytes())
        except ValidationError as error:
            raise CannotResume(
                f"{self.record} must hold the settings of a run.",
                received=error.errors()[0]["msg"],
                cure="Start anew in another folder.",
            ) from error
        differing = _differences(found, asked)
        if differing:
            raise CannotResume(
                "A run is resumed with the data and the settings that it began with.",
                received="; ".join(differing),
                cure="Give the same settings (a time budget may change), or start anew elsewhere.",
            )
        return found.model_copy(update={"settings": asked.settings})


def arch_of(folder: RunFolder, plan: Plan | None, preset: Preset | None = None) -> str:
    """The kind of network where none is asked for: the plan's, that of the run there, or nnU-Net's.

    nnU-Net's presets are of the residual encoder.

    Args:
        folder: The run, which may not have begun.
        plan: The plan that was given.
        preset: The preset that was given.
    """
    if plan is not None:
        return plan.network.kind
    try:
        return RunRecord.model_validate_json(folder.record.read_bytes()).settings.arch
    except (OSError, ValidationError):
        if preset is not None:
            return "resenc_unet"
        return RunSettings.model_fields["arch"].get_default()  # type: ignore[no-any-return]


def _require_known(arch: str) -> None:
    if arch not in names():
        raise PlanError(
            f"Networks are {', '.join(names())}.",
            received=repr(arch),
            cure="Choose one with --arch.",
        )


def _differences(found: RunRecord, asked: RunRecord) -> list[str]:
    """What differs, as "seed 1 instead of 0"."""

    def facts(record: RunRecord) -> dict[str, Any]:
        cases = {"data set": record.dataset, "cases": record.cases_hash[:12]}
        cases["start"] = record.started_from or "drawn weights"
        cases["teacher"] = record.taught_by or "nobody"
        kind = "time" if record.settings.seconds else "epochs"
        return record.settings.model_dump(exclude={"seconds", "devices"}) | cases | {"budget": kind}

    before, now = facts(found), facts(asked)
    changed = [name for name in now if now[name] != before[name]]
    return [f"{name} {now[name]} instead of {before[name]}" for name in changed]
