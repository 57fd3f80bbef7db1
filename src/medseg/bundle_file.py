"""The content of `bundle.json`, in each of its formats."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from medseg.dataset.plan import Plan
from medseg.specs import FROZEN
from medseg.specs.postprocess import PostprocessSpec

WeightsDtype = Literal["float32", "float16"]
"""How weights lie on the disk; in memory they are always float32."""


class Provenance(BaseModel):
    """Where a bundle comes from.

    Attributes:
        medseg_version: The version that trained it.
        created: Date and time in UTC, ISO 8601.
        data_name: Name of the data set.
        data_hash: Fingerprint of the training data.
        data_licence: Licence of the training data; empty when it is not known.
        seed: Seed of weights, order and augmentation.
        command: The command line, or the call, that made it.
        seconds: Wall time of the whole training command.
        steps: Optimizer steps of each member.
        device: Name of the processor or graphics card.
        precision: Arithmetic of the training: "fp32", "bf16" or "fp16".
        training_cases: Cases that any member saw.
        validation_cases: Cases that the figures in `metrics` were measured on.
        started_from: Name and first digits of the SHA-256 of the bundle whose weights it started
            from; empty for weights that were drawn.
        taught_by: The same of the bundle that taught it (`medseg distill`); empty for none.
        data_version: Digest that names the version of the data (`medseg version`); empty where the
            data had none.
    """

    model_config = FROZEN

    medseg_version: str
    created: str
    data_name: str
    data_hash: str
    data_licence: str = ""
    seed: int
    command: str = ""
    seconds: float = 0.0
    steps: int = 0
    device: str = ""
    precision: str = "fp32"
    training_cases: tuple[str, ...] = ()
    validation_cases: tuple[str, ...] = ()
    started_from: str = ""
    taught_by: str = Field(default="", exclude_if=lambda one: not one)
    data_version: str = Field(default="", exclude_if=lambda one: not one)


class FirstStageFile(BaseModel):
    """The first stage of a cascade in `bundle.json`."""

    model_config = FROZEN

    plan: Plan
    members: int = Field(ge=1)


class FurtherFile(BaseModel):
    """A further configuration in `bundle.json`."""

    model_config = FROZEN

    plan: Plan
    members: int = Field(ge=1)
    temperature: float = Field(default=1.0, gt=0)
    first_stage: FirstStageFile | None = Field(default=None, exclude_if=lambda one: one is None)


class BundleFile(BaseModel):
    """The content of `bundle.json`.

    Format 1 is one configuration whose masks and probabilities are left as the networks give them;
    its file has none of the last four fields. Format 2 has no cascade, and so not the last field.
    """

    model_config = FROZEN

    format: Literal[1, 2, 3] = 1
    plan: Plan
    provenance: Provenance
    metrics: dict[str, Any]
    volume_ranges_ml: dict[str, tuple[float, float]]
    members: int = Field(ge=1)
    weights_dtype: WeightsDtype
    weights_sha256: str
    temperature: float = Field(default=1.0, gt=0)
    postprocessing: tuple[PostprocessSpec, ...] = ()
    further: tuple[FurtherFile, ...] = ()
    first_stage: FirstStageFile | None = Field(default=None, exclude_if=lambda one: one is None)


FORMAT_2 = {"temperature", "postprocessing", "further"}
"""Fields that format 1 does not have."""
