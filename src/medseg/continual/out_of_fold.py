"""Which network of a run has not learned from which of its cases."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from medseg.errors import DriftError
from medseg.training.outcome import HELD_OUT
from medseg.training.run import RunFolder


class _Case(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    case: str
    fold: int


class _Fold(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    fold: int


class _Metrics(BaseModel):
    """What of a run's `metrics.json` counts here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    measured_on: str
    cases: tuple[_Case, ...]
    folds: tuple[_Fold, ...]

    @model_validator(mode="after")
    def _check(self) -> "_Metrics":
        if not {one.fold for one in self.cases} <= {one.fold for one in self.folds}:
            raise ValueError("a case was held out by one of the folds")
        return self


def networks_that_held_out(run: Path) -> dict[str, int]:
    """For each case that was held out, the number of the network that has not learned from it.

    Args:
        run: Folder of a finished run.

    Raises:
        DriftError: If it is none, or some of its cases were not held out.
    """
    path = RunFolder(run).metrics
    try:
        found = _Metrics.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DriftError(
            "Who has not learned from a case stands in the folder of a finished run.",
            received=f"{run}, without a metrics.json that says so",
            cure="Give the folder that medseg train wrote (--out), not the bundle in it.",
        ) from error
    if found.measured_on != HELD_OUT:
        raise DriftError(
            "Dice is foretold by what networks do with cases that they have not learned from.",
            received=f"a run whose Dice was measured on {found.measured_on}",
            cure="Train with --folds all from weights that have not seen these cases, or use "
            "other labelled cases: medseg drift baseline CASES --labels LABELS --model BUNDLE.",
        )
    order = list(dict.fromkeys(one.fold for one in found.folds))
    return {one.case: order.index(one.fold) for one in found.cases}
