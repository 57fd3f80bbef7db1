"""What a loop was asked for and what came of each step, in one file: `loop.json`.

The file is replaced as a whole after each step and holds neither times nor paths of results, so a
loop that was killed and resumed ends in the same bytes as one that was not.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from medseg.continual.promotion import Comparison, Offset, PromotionRule, Verdict
from medseg.errors import LoopError
from medseg.files import write_text
from medseg.specs import FROZEN

STATE_FILE = "loop.json"

Strategy = Literal["random", "diverse", "entropy", "bald", "mirror", "coreset", "mixed"]

Step = Literal["drift", "select", "labels", "train", "evaluate", "decide", "promote"]

STEPS: tuple[Step, ...] = (
    "drift", "select", "labels", "train", "evaluate", "decide", "promote",
)  # fmt: skip
"""In this order."""


class LoopSettings(BaseModel):
    """What is asked for.

    Attributes:
        data: Folder of the data set with versions that the new labels go into.
        bundles: Folder of bundles of which one is in use.
        test: The frozen test set of the old domain: a data set none of whose cases is in `data`.
        pool: Images of the new domain, from which cases to label are chosen; none where the labels
            are of cases that are in `data` already.
        labels: Folder of new labels; None until they are there.
        new_test: A test set of the new domain; None to hold out a share of the new cases.
        baseline: Folder of the drift baseline of the bundle in use; None to go on whatever the
            data are like.
        count: Cases to choose from the pool.
        strategy: How they are chosen.
        held_out_share: Of the new cases, for judging, where there is no `new_test`.
        replay: Old cases that are learned from again, for each new one.
        seconds: Time of the training; None when `epochs` counts.
        epochs: Passes over its cases; None when `seconds` counts.
        learning_rate_share: Of the learning rate that the bundle in use was trained with.
        device: Where networks run.
        precision: Arithmetic of the training; "auto" times what is fastest here, so that two loops
            may differ in the last digits.
        seed: Of all that is drawn.
        rule: When the candidate is promoted.
    """

    model_config = FROZEN

    data: Path
    bundles: Path
    test: Path
    pool: tuple[Path, ...] = ()
    labels: Path | None = None
    new_test: Path | None = None
    baseline: Path | None = None
    count: int = Field(15, ge=1)
    strategy: Strategy = "diverse"
    held_out_share: float = Field(1 / 3, gt=0, lt=1)
    replay: float = Field(4.0, ge=0)
    seconds: float | None = Field(None, gt=0)
    epochs: int | None = Field(None, ge=1)
    learning_rate_share: float = Field(0.3, gt=0, le=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(0, ge=0)
    rule: PromotionRule = PromotionRule()

    @model_validator(mode="after")
    def _check(self) -> "LoopSettings":
        if (self.seconds is None) == (self.epochs is None):
            raise ValueError("either seconds or epochs say how long the training lasts")
        if self.labels is None and not self.pool:
            raise ValueError("there are labels, or a pool to choose cases from")
        if self.baseline is not None and not self.pool:
            raise ValueError("drift is looked for in a pool")
        return self


class DriftFound(BaseModel):
    """What the first step found.

    Attributes:
        alarm: Whether the data changed; None where nobody asked.
        since: The case with which the change began.
        moved: Names of the statistics that tell.
    """

    model_config = FROZEN

    alarm: bool | None
    since: str | None = None
    moved: tuple[str, ...] = ()


class CasesChosen(BaseModel):
    """What is to be labelled; none where nobody had to choose."""

    model_config = FROZEN

    cases: tuple[str, ...] = ()


class LabelsTaken(BaseModel):
    """The new version of the data, and who learns and judges.

    Attributes:
        version: Digest of its manifest.
        new: Cases that are new or have a new label.
        learning: Those of them that are learned from.
        judging: Those of them that judge.
        replayed: Old cases that are learned from again.
    """

    model_config = FROZEN

    version: str
    new: tuple[str, ...]
    learning: tuple[str, ...]
    judging: tuple[str, ...]
    replayed: tuple[str, ...]


class Candidate(BaseModel):
    """What was trained.

    Attributes:
        weights_sha256: Of its weights; it lies in `train/bundle`.
    """

    model_config = FROZEN

    weights_sha256: str


class Evaluated(BaseModel):
    """Both bundles on both domains.

    Attributes:
        comparisons: Dice of each case.
        offset: Where the new labels lie.
    """

    model_config = FROZEN

    comparisons: tuple[Comparison, ...]
    offset: Offset | None = None


class InUse(BaseModel):
    """The end: which bundle is in use, by the name of its folder."""

    model_config = FROZEN

    bundle: str


class LoopState(BaseModel):
    """How far a loop is.

    Attributes:
        format: Of this file.
        settings: What was asked for.
        start: Name of the folder of the bundle that was in use when it began.
        drift: Of the first step; None before it is done, as of all others.
        select: What is to be labelled.
        labels: What was labelled.
        train: What was trained.
        evaluate: How good it is.
        decide: What the rule says.
        promote: Which bundle is in use.
    """

    model_config = FROZEN

    format: Literal[1] = 1
    settings: LoopSettings
    start: str
    drift: DriftFound | None = None
    select: CasesChosen | None = None
    labels: LabelsTaken | None = None
    train: Candidate | None = None
    evaluate: Evaluated | None = None
    decide: Verdict | None = None
    promote: InUse | None = None

    @property
    def next(self) -> Step | None:
        """The step to take; None at the end."""
        if self.is_quiet:
            return None
        return next((step for step in STEPS if getattr(self, step) is None), None)

    @property
    def is_quiet(self) -> bool:
        """Whether it ended with its first step: no change, and no labels that were handed in."""
        return self.drift is not None and self.drift.alarm is False and not self.settings.labels

    @property
    def is_waiting(self) -> bool:
        """Whether the labels of the chosen cases are awaited."""
        return self.next == "labels" and self.settings.labels is None

    def require_same(self, asked: LoopSettings) -> None:
        """Pass if a loop is to go on as it began; labels may come later.

        Raises:
            LoopError: If anything else differs.
        """
        before = self.settings.model_dump(mode="json")
        now = asked.model_dump(mode="json")
        if self.settings.labels is None:
            before.pop("labels")
            now.pop("labels")
        changed = [name for name in before if before[name] != now[name]]
        if changed:
            raise LoopError(
                "A loop goes on with the settings that it began with.",
                received=", ".join(f"another {name.replace('_', ' ')}" for name in changed),
                cure="Give the same ones, or begin another loop in another folder.",
            )


def save_state(state: LoopState, folder: Path) -> None:
    """Write `loop.json`, whole or not at all.

    Raises:
        CannotWrite: If it cannot be written.
    """
    write_text(folder / STATE_FILE, state.model_dump_json(indent=1) + "\n")


def load_state(folder: Path) -> LoopState:
    """Read `loop.json`.

    Raises:
        LoopError: If there is none, or it is none.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        raise LoopError(
            "Only a loop that began can go on.",
            received=f"none in {folder}",
            cure="Leave --resume out to begin one.",
        )
    try:
        return LoopState.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise LoopError(
            f"{file} must be the state of a loop.",
            received=error.errors()[0]["msg"],
            cure="Begin anew in another folder.",
        ) from error


def settings_of(**asked: Any) -> LoopSettings:
    """Check what is asked for.

    Raises:
        LoopError: If it contradicts itself.
    """
    try:
        return LoopSettings(**asked)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise LoopError(
            "What is asked of a loop fits together.",
            received=f"{place}: {first['msg']}" if place else first["msg"],
            cure="See medseg loop run --help.",
        ) from error
