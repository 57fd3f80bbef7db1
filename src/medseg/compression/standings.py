"""Several models judged on the same whole cases: Dice, what a patch costs, and who is better."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from medseg.compression.accuracy import scores_of
from medseg.dataset.cost import parameter_count
from medseg.dataset.description import DatasetDescription, read_case, read_case_label
from medseg.inference.engines import patch_ms, patch_of
from medseg.inference.predict import Predictor
from medseg.metrics.case import LabelScores
from medseg.metrics.paired import gain_of
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN

CaseDice = npt.NDArray[np.float64]
"""Mean Dice over structures, one figure for each case."""


class Difference(BaseModel):
    """The mean of paired differences of Dice.

    Attributes:
        against: The name of the other model; positive figures are in favour of this one.
        mean: Mean over cases.
        ci_low: Lower end of the bootstrap interval (95 %); None below two cases.
        ci_high: Its upper end.
        p: Two-sided, of Wilcoxon's signed-rank test.
    """

    model_config = FROZEN

    against: str
    mean: float
    ci_low: float | None
    ci_high: float | None
    p: float

    @property
    def verdict(self) -> Literal["better", "worse", "no difference beyond chance"]:
        """What the interval says."""
        if self.ci_low is not None and self.ci_low > 0:
            return "better"
        if self.ci_high is not None and self.ci_high < 0:
            return "worse"
        return "no difference beyond chance"


class Standing(BaseModel):
    """One model among others.

    Attributes:
        name: What it is.
        dice: Mean over structures, then over cases.
        case_dice: Mean over structures of each case.
        patch_ms: Wall time of one patch through all its networks here, in milliseconds.
        parameters: Weights of all its networks.
        engine: What ran it, such as "torch fp32".
    """

    model_config = FROZEN

    name: str
    dice: float
    case_dice: tuple[float, ...]
    patch_ms: float
    parameters: int
    engine: str


def standings(
    models: Mapping[str, Predictor],
    description: DatasetDescription,
    ids: Sequence[str],
    *,
    progress: Progress = SILENT,
) -> tuple[Standing, ...]:
    """Judge models: each case is read once, and every model predicts it.

    Args:
        models: By name.
        description: The data set.
        ids: Its labelled cases that judge, at least one.
        progress: Told of each case.
    """
    found: dict[str, list[float]] = {name: [] for name in models}
    with progress.task("judge", len(ids)) as task:
        for case_id in ids:
            case = description.case(case_id)
            volume, reference = read_case(description, case), read_case_label(description, case)
            for name, model in models.items():
                mask = model.predict(volume).label_map
                found[name].append(case_dice(scores_of(mask, reference, model.bundle.labels)))
            task.advance()
    return tuple(
        Standing(
            name=name,
            dice=float(np.mean(found[name])),
            case_dice=tuple(found[name]),
            patch_ms=model_patch_ms(model),
            parameters=sum(
                parameter_count(stage.plan.network) * len(stage.members)
                for stage in model.bundle.stages
            ),
            engine=f"{model.engines[0].name} {model.engines[0].precision}",
        )
        for name, model in models.items()
    )


def case_dice(scores: Sequence[LabelScores]) -> float:
    """Mean Dice of a case over structures that are there or were predicted; 1 where none is."""
    there = [one.dice for one in scores if one.status != "both_empty"]
    return float(np.mean(there)) if there else 1.0


def difference(one: Standing, other: Standing) -> Difference:
    """Whether a model is better than another on the same cases."""
    gain = gain_of(np.array(one.case_dice) - np.array(other.case_dice))
    return Difference(
        against=other.name, mean=gain.mean, ci_low=gain.ci_low, ci_high=gain.ci_high, p=gain.p
    )


def model_patch_ms(model: Predictor) -> float:
    """Wall time of one patch through all networks of a model, in milliseconds.

    Of a cascade its second stage alone.
    """
    pairs = zip(model.bundle.configurations, model.configured, strict=True)
    return sum(
        patch_ms(engine, patch_of(configuration))
        for configuration, configured in pairs
        for engine in configured.engines
    )
