"""What training leaves and everything later takes: weights, plan, labels, provenance, figures.

A bundle is a folder:

* `bundle.json`: plan, provenance, validation figures, and the SHA-256 of the weights
* `weights.safetensors`: tensors named "0.stem.weight"; members 0, 1, ... are an ensemble, those of
  a cascade's first stage and of further configurations counted on
* `model_card.md`: the same for people, with intended use and limits

Nothing is pickled. Torch is loaded once a network is built or a bundle saved, and not by one whose
networks run in another engine. Bundles in the box lie in `medseg/models/` and are found by name.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.bundle_file import (
    FORMAT_2,
    BundleFile,
    FirstStageFile,
    FurtherFile,
    Provenance,
    WeightsDtype,
)
from medseg.bundle_folder import (
    BUILTIN_FOLDER,
    DESCRIPTION_FILE,
    builtin_bundles,
    find_bundle,
    is_in_the_box,
    read_description,
)
from medseg.bundle_weights import WEIGHTS_FILE, packed, read_weights
from medseg.card import model_card
from medseg.dataset.plan import Plan
from medseg.errors import BundleError, CorruptBundle
from medseg.files import atomic_folder
from medseg.specs.postprocess import PostprocessSpec
from medseg.volume.labels import Labels

if TYPE_CHECKING:
    from torch import Tensor

    from medseg.networks.network import Network

__all__ = [
    "BUILTIN_FOLDER",
    "DESCRIPTION_FILE",
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

CARD_FILE = "model_card.md"


@dataclass(frozen=True, eq=False)
class Configuration:
    """Networks of one plan: their mean is one opinion.

    Attributes:
        plan: How a case is prepared and the network built.
        members: One state dict for each network, float32 on the CPU; several are an ensemble.
        temperature: What logarithms of probabilities are divided by, so that they mean what they
            say; see `medseg.inference.quality`.
        first_stage: Of a cascade: the networks whose mask these ones refine.

    Raises:
        BundleError: If a cascade has no first stage, or something else has one, or it is for other
            channels or structures.
    """

    plan: Plan
    members: "tuple[Mapping[str, Tensor], ...]"
    temperature: float = 1.0
    first_stage: "Configuration | None" = None

    def __post_init__(self) -> None:
        first, is_cascade = self.first_stage, self.plan.config == "cascade"
        if is_cascade != (first is not None) or (first and first.plan.config == "cascade"):
            raise BundleError(
                "A cascade, and nothing else, has a first stage, which is no cascade.",
                received=f"{self.plan.config} with "
                + (f"{first.plan.config} before it" if first else "nothing before it"),
                cure="Train it: medseg train DATASET --config cascade.",
            )
        facts = ("channels", "labels", "regions")
        if first and any(getattr(first.plan, f) != getattr(self.plan, f) for f in facts):
            raise BundleError(
                "Both stages of a cascade are for the same channels, labels and regions.",
                received=f"{first.plan.config} and {self.plan.config} that differ in them",
                cure="Train them on the same data set.",
            )

    @property
    def stages(self) -> "tuple[Configuration, ...]":
        """Itself, and then what comes before it."""
        return (self,) if self.first_stage is None else (self, *self.first_stage.stages)


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
        first_stage: As in `Configuration`.

    Raises:
        BundleError: If a further configuration is for other channels or labels, or a cascade lacks
            its first stage.
    """

    plan: Plan
    provenance: Provenance
    members: "tuple[Mapping[str, Tensor], ...]"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    volume_ranges_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    folder: Path | None = None
    weights_sha256: str = ""
    temperature: float = 1.0
    postprocessing: tuple[PostprocessSpec, ...] = ()
    further: tuple[Configuration, ...] = ()
    first_stage: Configuration | None = None

    def __post_init__(self) -> None:
        for other in self.configurations:
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
        first = Configuration(self.plan, self.members, self.temperature, self.first_stage)
        return (first, *self.further)

    @property
    def stages(self) -> tuple[Configuration, ...]:
        """All that has networks: each configuration, and after a cascade its first stage."""
        return tuple(stage for one in self.configurations for stage in one.stages)

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
        if self.folder is not None and is_in_the_box(self.folder):
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
    weights = packed([m for one in bundle.stages for m in one.members], weights_dtype)
    saved = replace(bundle, folder=folder, weights_sha256=hashlib.sha256(weights).hexdigest())
    further = tuple(
        FurtherFile(
            plan=one.plan, members=len(one.members), temperature=one.temperature,
            first_stage=_described(one.first_stage),
        )
        for one in saved.further
    )  # fmt: skip
    has_cascade = len(saved.stages) > len(saved.configurations)
    is_new = saved.temperature != 1.0 or bool(saved.postprocessing or further or has_cascade)
    description = BundleFile(
        format=3 if has_cascade else 2 if is_new else 1,
        first_stage=_described(saved.first_stage),
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
        text = description.model_dump_json(indent=1, exclude=None if is_new else FORMAT_2)
        (temporary / DESCRIPTION_FILE).write_text(text, "utf-8")
        (temporary / CARD_FILE).write_text(model_card(saved), "utf-8")
    return saved


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Read a bundle: one in the box by its name, a bundle's folder, or the folder of a run.

    Raises:
        UnknownBundle: If there is no bundle of this name or at this place.
        CorruptBundle: If the weights or the description changed after they were written.
    """
    folder = find_bundle(name_or_path)
    description = read_description(folder)
    described: tuple[BundleFile | FurtherFile, ...] = (description, *description.further)
    count = sum(one.members + (one.first_stage.members if one.first_stage else 0)
                for one in described)  # fmt: skip
    members = iter(read_weights(folder, description, count))
    first, *further = (_configuration(one, members) for one in described)
    return Bundle(
        plan=description.plan,
        provenance=description.provenance,
        members=first.members,
        temperature=description.temperature,
        postprocessing=description.postprocessing,
        further=tuple(further),
        first_stage=first.first_stage,
        metrics=description.metrics,
        volume_ranges_ml=description.volume_ranges_ml,
        folder=folder,
        weights_sha256=description.weights_sha256,
    )


def build_member(bundle: Bundle, n: int = 0) -> "Network":
    """The n-th network of the first configuration; see `build_members`.

    Raises:
        CorruptBundle: If the weights do not fit the planned network.
    """
    return _built(bundle.plan, bundle.members[n])


def build_members(configuration: Configuration) -> "tuple[Network, ...]":
    """All networks with their weights, deployed for inference (eval mode, on the CPU).

    Raises:
        CorruptBundle: If the weights do not fit the planned network.
    """
    return tuple(_built(configuration.plan, weights) for weights in configuration.members)


def _described(first_stage: Configuration | None) -> FirstStageFile | None:
    if first_stage is None:
        return None
    return FirstStageFile(plan=first_stage.plan, members=len(first_stage.members))


def _configuration(
    described: BundleFile | FurtherFile, members: "Iterator[Mapping[str, Tensor]]"
) -> Configuration:
    """A configuration with the next members, those of its first stage after its own."""
    own, before = tuple(islice(members, described.members)), described.first_stage
    first_stage = None
    if before is not None:
        first_stage = Configuration(before.plan, tuple(islice(members, before.members)))
    return Configuration(described.plan, own, described.temperature, first_stage)


def _built(plan: Plan, weights: "Mapping[str, Tensor]") -> "Network":
    from medseg.networks.build import build  # torch is slow to load

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
