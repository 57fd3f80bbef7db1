"""What training leaves and everything later takes: weights, plan, labels, provenance, figures.

A bundle is a folder:

* `bundle.json`: plan, provenance, validation figures, and the SHA-256 of the weights
* `weights.safetensors`: tensors named "0.stem.weight"; members 0, 1, ... are an ensemble, those of
  further configurations counted on
* `model_card.md`: the same for people, with intended use and limits

Nothing is pickled. Bundles in the box lie in `medseg/models/` and are found by name.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medseg.card import model_card
from medseg.dataset.plan import Plan
from medseg.errors import BundleError, CorruptBundle, UnknownBundle
from medseg.files import atomic_folder
from medseg.networks.build import build
from medseg.networks.network import Network
from medseg.specs import FROZEN
from medseg.specs.postprocess import PostprocessSpec
from medseg.volume.labels import Labels

__all__ = [
    "Bundle",
    "Configuration",
    "Provenance",
    "build_member",
    "build_members",
    "builtin_bundles",
    "load_bundle",
    "model_card",
    "save_bundle",
]

DESCRIPTION_FILE, WEIGHTS_FILE, CARD_FILE = "bundle.json", "weights.safetensors", "model_card.md"

BUILTIN_FOLDER = Path(__file__).parent / "models"
"""Where the bundles in the box lie."""

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


class _Further(BaseModel):
    """A further configuration in `bundle.json`."""

    model_config = FROZEN

    plan: Plan
    members: int = Field(ge=1)
    temperature: float = Field(default=1.0, gt=0)


class _Description(BaseModel):
    """The content of `bundle.json`.

    Format 1 is one configuration whose masks and probabilities are left as the networks give them;
    its file has none of the last three fields.
    """

    model_config = FROZEN

    format: Literal[1, 2] = 1
    plan: Plan
    provenance: Provenance
    metrics: dict[str, Any]
    volume_ranges_ml: dict[str, tuple[float, float]]
    members: int = Field(ge=1)
    weights_dtype: WeightsDtype
    weights_sha256: str
    temperature: float = Field(default=1.0, gt=0)
    postprocessing: tuple[PostprocessSpec, ...] = ()
    further: tuple[_Further, ...] = ()


_FORMAT_2 = {"temperature", "postprocessing", "further"}
"""Fields that format 1 does not have."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """Networks of one plan: their mean is one opinion.

    Attributes:
        plan: How a case is prepared and the network built.
        members: One state dict for each network, float32 on the CPU; several are an ensemble.
        temperature: What logarithms of probabilities are divided by, so that they mean what they
            say; see `medseg.inference.quality`.
    """

    plan: Plan
    members: tuple[Mapping[str, Tensor], ...]
    temperature: float = 1.0


@dataclass(frozen=True, eq=False)
class Bundle:
    """One or more trained networks and all that is needed to use them.

    Attributes:
        plan: How a case is prepared and the network built.
        provenance: Where the weights come from.
        members: One state dict for each network, float32 on the CPU; several are an ensemble.
        metrics: Validation figures, as in a run's `metrics.json`.
        volume_ranges_ml: For each label name, the volumes between which training cases lie.
        folder: Where it was read from; None before it was saved.
        weights_sha256: SHA-256 of the weights file; empty before it was saved.
        temperature: As in `Configuration`.
        postprocessing: What is done to each mask, in this order.
        further: Configurations that are averaged with the first one, which the fields above
            describe. All of them see the same channels and find the same structures.

    Raises:
        BundleError: If a further configuration is for other channels or labels.
    """

    plan: Plan
    provenance: Provenance
    members: tuple[Mapping[str, Tensor], ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    volume_ranges_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    folder: Path | None = None
    weights_sha256: str = ""
    temperature: float = 1.0
    postprocessing: tuple[PostprocessSpec, ...] = ()
    further: tuple[Configuration, ...] = ()

    def __post_init__(self) -> None:
        for other in self.further:
            plan = other.plan
            if plan.channels != self.plan.channels or plan.labels != self.plan.labels:
                raise BundleError(
                    "All configurations of a bundle are for the same channels and labels.",
                    received=f"{self.plan.config} and {plan.config} that differ in them",
                    cure="Train them on the same data set.",
                )

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """All of them, the first one first."""
        return (Configuration(self.plan, self.members, self.temperature), *self.further)

    @property
    def labels(self) -> Labels:
        """The structures that it finds; the n-th is class n + 1 of the network."""
        return self.plan.labels

    @property
    def identity(self) -> str:
        """Name and the first digits of the SHA-256 of its weights."""
        return f"{self.name} {self.weights_sha256[:12] or '(not saved)'}"

    @property
    def name(self) -> str:
        """Name in the box, or the name of its data set."""
        if self.folder is not None and self.folder.parent == BUILTIN_FOLDER:
            return self.folder.name
        return self.plan.dataset


def save_bundle(bundle: Bundle, folder: Path, *, weights_dtype: WeightsDtype = "float32") -> Bundle:
    """Write a bundle, whole or not at all.

    Args:
        bundle: What to write.
        folder: Its new place; a bundle that is already there is replaced.
        weights_dtype: "float16" halves the file; weights are cast back to float32 on loading.

    Returns:
        The same bundle at its place.

    Raises:
        CannotWrite: If the folder cannot be written.
    """
    dtype = getattr(torch, weights_dtype)
    weights = save_tensors(
        {
            f"{n}.{name}": _stored(tensor, dtype)
            for n, member in enumerate(m for one in bundle.configurations for m in one.members)
            for name, tensor in member.items()
        }
    )
    saved = replace(bundle, folder=folder, weights_sha256=hashlib.sha256(weights).hexdigest())
    further = tuple(
        _Further(plan=one.plan, members=len(one.members), temperature=one.temperature)
        for one in saved.further
    )
    is_new = saved.temperature != 1.0 or bool(saved.postprocessing or further)
    description = _Description(
        format=2 if is_new else 1,
        temperature=saved.temperature,
        postprocessing=saved.postprocessing,
        further=further,
        plan=saved.plan,
        provenance=saved.provenance,
        metrics=dict(saved.metrics),
        volume_ranges_ml=dict(saved.volume_ranges_ml),
        members=len(saved.members),
        weights_dtype=weights_dtype,
        weights_sha256=saved.weights_sha256,
    )
    with atomic_folder(folder) as temporary:
        (temporary / WEIGHTS_FILE).write_bytes(weights)
        text = description.model_dump_json(indent=1, exclude=None if is_new else _FORMAT_2)
        (temporary / DESCRIPTION_FILE).write_text(text, "utf-8")
        (temporary / CARD_FILE).write_text(model_card(saved), "utf-8")
    return saved


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Read a bundle: one in the box by its name, a bundle's folder, or the folder of a run.

    Raises:
        UnknownBundle: If there is no bundle of this name or at this place.
        CorruptBundle: If the weights or the description changed after they were written.
    """
    folder = _find(name_or_path)
    description = _read_description(folder)
    weights = _read_weights(folder, description)
    counts = [description.members, *(one.members for one in description.further)]
    members = iter(_split_members(weights, sum(counts), folder))
    first = tuple(islice(members, description.members))
    further = tuple(
        Configuration(one.plan, tuple(islice(members, one.members)), one.temperature)
        for one in description.further
    )
    return Bundle(
        plan=description.plan,
        provenance=description.provenance,
        members=first,
        temperature=description.temperature,
        postprocessing=description.postprocessing,
        further=further,
        metrics=description.metrics,
        volume_ranges_ml=description.volume_ranges_ml,
        folder=folder,
        weights_sha256=description.weights_sha256,
    )


def builtin_bundles() -> tuple[str, ...]:
    """Names of the bundles in the box."""
    found = BUILTIN_FOLDER.glob(f"*/{DESCRIPTION_FILE}")
    return tuple(sorted(path.parent.name for path in found))


def build_member(bundle: Bundle, n: int = 0) -> Network:
    """The n-th network of the first configuration; see `build_members`.

    Raises:
        CorruptBundle: If the weights do not fit the planned network.
    """
    return _built(bundle.plan, bundle.members[n])


def build_members(configuration: Configuration) -> tuple[Network, ...]:
    """All networks with their weights, deployed for inference (eval mode, on the CPU).

    Raises:
        CorruptBundle: If the weights do not fit the planned network.
    """
    return tuple(_built(configuration.plan, weights) for weights in configuration.members)


def _built(plan: Plan, weights: Mapping[str, Tensor]) -> Network:
    network = build(plan.network)
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CorruptBundle(
            "The weights of a bundle fit the network of its plan.",
            received=" ".join(str(error).split())[:200],
            cure="Copy the bundle again from its source, or train it again.",
        ) from error
    return network.deployed()


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    kept = tensor.detach().cpu()
    return (kept.to(dtype) if kept.is_floating_point() else kept).contiguous().clone()


def _find(name_or_path: str | Path) -> Path:
    given = Path(name_or_path)
    for folder in (given, given / "bundle", BUILTIN_FOLDER / str(name_or_path)):
        if (folder / DESCRIPTION_FILE).is_file():
            return folder
    known = ", ".join(builtin_bundles()) or "none in the box"
    raise UnknownBundle(
        "A model is the name of a bundle in the box, a bundle's folder or the folder of a run.",
        received=str(name_or_path),
        cure=f"Known names: {known}.",
    )


def _read_description(folder: Path) -> _Description:
    try:
        return _Description.model_validate_json((folder / DESCRIPTION_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise _corrupt(folder, f"{DESCRIPTION_FILE}, {place}: {first['msg']}") from error


def _read_weights(folder: Path, description: _Description) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise _corrupt(folder, f"no {WEIGHTS_FILE}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != description.weights_sha256:
        raise _corrupt(folder, f"{WEIGHTS_FILE} with another SHA-256 than {DESCRIPTION_FILE} says")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise _corrupt(folder, str(error)) from error


def _split_members(
    weights: Mapping[str, Tensor], count: int, folder: Path
) -> tuple[dict[str, Tensor], ...]:
    members: dict[str, dict[str, Tensor]] = {str(n): {} for n in range(count)}
    for key in sorted(weights):
        n, _, name = key.partition(".")
        tensor = weights[key]
        if n not in members:
            raise _corrupt(folder, f"weights {key!r} of none of its {count} networks")
        if not bool(tensor.isfinite().all()):
            raise _corrupt(folder, f"weights {key!r} that are no finite numbers")
        members[n][name] = tensor.float() if tensor.is_floating_point() else tensor
    return tuple(members.values())


def _corrupt(folder: Path, received: str) -> CorruptBundle:
    return CorruptBundle(
        f"A bundle is read as it was written; {folder} is not.",
        received=received,
        cure="Copy the bundle again from its source, or train it again.",
    )
