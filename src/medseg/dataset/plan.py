"""Everything that is decided before training, and why.

A Plan is all that is needed to repeat preprocessing, build the network and train it. Making one is
arithmetic: no image is read, no network is built.
"""

import hashlib
import json
from math import prod
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from medseg.dataset.cascade import cascade_frame
from medseg.dataset.choice import Need, choose_network, patch_in_memory
from medseg.dataset.description import Channel
from medseg.dataset.effort import effort
from medseg.dataset.explain import (
    Reason,
    crop_reason,
    loss_words,
    mirror_words,
    network_reasons,
    recipe_words,
    structure_reasons,
)
from medseg.dataset.fingerprint import Fingerprint
from medseg.dataset.frame import Config, Frame, WantedConfig, choose_frame
from medseg.dataset.lowres import low_frame
from medseg.dataset.normalise import ClipAndScale, Normalisation, UnitRange, ZScore
from medseg.dataset.recipe import augmentation, loss, recipe
from medseg.dataset.rules import normalisation, tells_sides_apart
from medseg.errors import MissingPath, PlanError
from medseg.files import write_text
from medseg.specs import (
    FROZEN,
    AugmentSpec,
    Budget,
    LossSpec,
    MaskAugmentSpec,
    NetworkSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.types import GridSize, SpacingMm
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Labels
from medseg.volume.regions import Regions, classes_of, judged, require_regions, with_ignored

__all__ = [
    "ClipAndScale",
    "Config",
    "Normalisation",
    "Plan",
    "Reason",
    "UnitRange",
    "ZScore",
    "load_plan",
    "make_plan",
    "save_plan",
]


_FILE_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}

Conventions = Literal["medseg", "nnunet"]


class Plan(BaseModel):
    """How cases are prepared, which network learns from them, and how.

    Attributes:
        version: Form of this record.
        dataset: Name of the data set.
        config: Whether the network sees slices or volumes, and at which resolution.
        channels: What the image channels are, in order.
        labels: The structures; the n-th is class n + 1.
        instances: Whether label files number objects of one structure.
        regions: Unions of labels that the network finds as a whole, in the order they are painted:
            the n-th is its channel n. None where it tells labels apart.
        ignored_value: What voxels of label files hold that nobody has judged.
        normalisations: What is done to each channel.
        orientation: Where I, J and K point to after reorientation; the coarsest axis is K.
        spacing_mm: Distance between voxels that cases are resampled to, in that order of axes. A
            2D plan resamples I and J only: K keeps the spacing of each case.
        crop_to_nonzero: Whether empty borders are cut off.
        conventions: Whose rules bring images to this grid and masks back from it; nnU-Net's are in
            `medseg.space.nnunet`.
        keeps_axes: Whether I, J and K of a case run as in its file, in the order that `orientation`
            has: then each of its letters names an axis of the file (R the first, A the second, S
            the third) and no direction. Networks that nnU-Net has trained see arrays so.
        patch_size: Voxels of a training patch (K = 1 for a 2D plan).
        network: The network.
        loss: What training makes small.
        augment: How samples are varied.
        mask_augment: How the mask of the stage before is varied; only a cascade has one.
        recipe: How weights are found.
        window: How a case is covered at prediction.
        budget: What the plan was made for.
        median_grid: Median grid size of the cases at `spacing_mm`.
        reasons: Each decision and why.
        fingerprint_hash: Which data the plan was made from.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    dataset: str
    config: Config
    channels: tuple[Channel, ...] = Field(min_length=1)
    labels: Labels = Field(min_length=1)
    instances: bool = False
    regions: Regions = ()
    ignored_value: int | None = Field(default=None, ge=1)
    normalisations: tuple[Normalisation, ...]
    orientation: str = Field(pattern="^[RLAPSI]{3}$")
    spacing_mm: SpacingMm
    crop_to_nonzero: bool
    conventions: Conventions = Field(default="medseg", exclude_if=lambda one: one == "medseg")
    keeps_axes: bool = Field(default=False, exclude_if=lambda one: not one)
    patch_size: GridSize
    network: NetworkSpec
    loss: LossSpec
    augment: AugmentSpec
    mask_augment: MaskAugmentSpec | None = Field(default=None, exclude_if=lambda one: one is None)
    recipe: RecipeSpec
    window: WindowSpec
    budget: Budget
    median_grid: GridSize
    reasons: tuple[Reason, ...] = ()
    fingerprint_hash: str = ""

    @model_validator(mode="after")
    def _check(self) -> "Plan":
        dims = 2 if self.config == "2d" else 3
        if len(self.normalisations) != len(self.channels):
            raise ValueError("each channel has one normalisation")
        if (self.config == "cascade") != (self.mask_augment is not None):
            raise ValueError("a cascade, and nothing else, varies the mask of the stage before")
        if self.network.in_channels != len(self.channels) + self.mask_channels:
            more = " and one for each structure" if self.mask_channels else ""
            raise ValueError(f"the network takes as many channels as the images have{more}")
        if not self.regions and self.network.classes != len(self.labels) + 1:
            raise ValueError("the network has one class for each label and one for background")
        if self.regions and self.network.classes != len(self.regions):
            raise ValueError("the network has one channel for each region")
        if bool(self.regions) != (self.loss.kind == "dice_bce"):
            raise ValueError("regions have the loss dice_bce, labels dice_ce")
        require_regions(self.regions, self.labels)
        with_ignored(self.labels, self.ignored_value)
        if self.network.dims != dims or (dims == 2 and self.patch_size[2] != 1):
            raise ValueError("a 2d plan has a 2D network and a patch with K = 1, a 3D plan neither")
        if min(self.spacing_mm) <= 0 or min(self.patch_size) < 1:
            raise ValueError("spacings and patch sizes are positive")
        return self

    @model_validator(mode="after")
    def _check_patch(self) -> "Plan":
        dims = self.network.dims
        for axis, step in enumerate(self.network.divisor):
            if self.patch_size[axis] % step:
                raise ValueError(f"the patch size along axis {axis} is a multiple of {step}")
        fixed = self.network.fixed_grid
        if fixed is not None and self.patch_size[:dims] != fixed:
            raise ValueError(f"this network takes patches of exactly {fixed}")
        if not self.network.keeps_grid:
            raise ValueError("a network of a plan gives logits on the grid of its patch")
        return self

    def orientation_of(self, geometry: Geometry) -> str:
        """Where I, J and K of a case on this grid point to once it is prepared."""
        if not self.keeps_axes:
            return self.orientation
        return "".join(geometry.orientation[_FILE_AXES[letter]] for letter in self.orientation)

    @property
    def ignored_class(self) -> int | None:
        """Class index of voxels that do not count: the one after the last label's."""
        return None if self.ignored_value is None else len(self.labels) + 1

    @property
    def mask_channels(self) -> int:
        """Channels that the network of a cascade sees after those of the image.

        They are 1 where the mask of the stage before holds a structure: one channel for each label.
        """
        return len(self.labels) if self.config == "cascade" else 0

    @property
    def region_classes(self) -> tuple[tuple[int, ...], ...]:
        """Class indices of each region; none where labels are told apart."""
        return classes_of(self.regions, self.labels)

    @property
    def judged(self) -> dict[str, tuple[int, ...]]:
        """What masks are judged by: label values of each region, or else of each label."""
        return judged(self.labels, self.regions)

    @property
    def preprocessing_hash(self) -> str:
        """SHA-256 of what preprocessing depends on: two plans that agree share a store."""
        fields = {
            "version", "config", "channels", "labels", "instances", "normalisations",
            "orientation", "spacing_mm", "crop_to_nonzero",
        }  # fmt: skip
        if self.ignored_value is not None:
            fields.add("ignored_value")
        fields |= {"conventions", "keeps_axes"}
        facts = self.model_dump(mode="json", include=fields)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def make_plan(
    fingerprint: Fingerprint,
    budget: Budget,
    *,
    config: WantedConfig = "auto",
    arch: str = "plain_unet",
) -> Plan:
    """Decide everything. Arithmetic only; the same input gives the same plan.

    Args:
        fingerprint: The data set.
        budget: Time, memory and speed.
        config: Whether the network shall see slices, volumes, volumes at a coarser resolution, or
            volumes with a mask; "auto" lets the data decide between the first two.
        arch: Kind of network; `medseg.networks.names()` lists them.

    Raises:
        PlanError: If the memory holds no network, volumes are asked for and there are none, a
            coarser resolution or a cascade is asked for and full resolution fits, or there is no
            such kind.
    """
    frame = _frame(fingerprint, budget, config, arch)
    is_2d = frame.config == "2d"
    need = _need(fingerprint, frame)
    choice = choose_network(need, budget, arch)
    spent = effort(choice.network, choice.patch_size, choice.batch_size, budget, need.cases)
    ways, why_ways = _intensities(fingerprint)
    found, why_found = recipe(spent.steps, choice.batch_size)
    varied, why_varied = augmentation(
        spent,
        choice.patch_size,
        frame.spacing_mm,
        orientation=frame.orientation,
        sides_differ=tells_sides_apart(_names(fingerprint)),
    )
    lost, why_lost = loss(
        prod(choice.patch_size),
        prod(frame.grid),
        is_2d=is_2d,
        kind="dice_bce" if fingerprint.regions else "dice_ce",
    )
    return Plan(
        dataset=fingerprint.dataset,
        config=frame.config,
        channels=fingerprint.channels,
        labels=fingerprint.labels,
        instances=fingerprint.instances,
        regions=fingerprint.regions,
        ignored_value=fingerprint.ignored_value,
        normalisations=ways,
        orientation=frame.orientation,
        spacing_mm=frame.spacing_mm,
        crop_to_nonzero=fingerprint.nonzero_share < 1,
        patch_size=choice.patch_size,
        network=choice.network,
        loss=lost,
        augment=varied,
        mask_augment=MaskAugmentSpec() if frame.config == "cascade" else None,
        recipe=found,
        window=WindowSpec(patch_size=choice.patch_size),
        budget=budget,
        median_grid=frame.grid,
        reasons=(
            *frame.reasons,
            crop_reason(fingerprint),
            *structure_reasons(fingerprint),
            *why_ways,
            *network_reasons(choice, frame.grid, budget, spent),
            Reason(what="optimiser", value=recipe_words(found), why=why_found),
            Reason(what="augmentation", value=mirror_words(varied), why=why_varied),
            Reason(what="loss", value=loss_words(lost), why=why_lost),
        ),
        fingerprint_hash=fingerprint.data_hash,
    )


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, whole or not at all.

    Raises:
        CannotWrite: If the file cannot be written.
    """
    write_text(path, plan.model_dump_json(indent=2) + "\n")


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        MissingPath: If there is no such file.
        PlanError: If it holds no plan, or one whose parts do not fit together.
    """
    if not path.is_file():
        raise MissingPath(
            f"A plan is read from {path}.",
            received="no file there",
            cure="Make one: medseg plan DATASET --out plan.json.",
        )
    try:
        return Plan.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise PlanError(
            f"{path} must hold a plan of this version of medseg.",
            received=f"{where}: {first['msg']}",
            cure="Make it again: medseg plan DATASET --out plan.json.",
        ) from error


def _frame(fingerprint: Fingerprint, budget: Budget, config: WantedConfig, arch: str) -> Frame:
    """Where cases are brought to."""
    if config != "3d_low" and config != "cascade":
        return choose_frame(fingerprint, config)
    full = choose_frame(fingerprint, "3d_full")

    def low() -> Frame:
        return low_frame(
            full, lambda frame: patch_in_memory(_need(fingerprint, frame), budget, arch)
        )

    return low() if config == "3d_low" else cascade_frame(full, low, len(fingerprint.labels))


def _names(fingerprint: Fingerprint) -> list[str]:
    """What structures and regions are called."""
    labels = [label.name for label in fingerprint.labels]
    return labels + [region.name for region in fingerprint.regions]


def _need(fingerprint: Fingerprint, frame: Frame) -> Need:
    """What a network must do with cases in this frame."""
    mask_channels = len(fingerprint.labels) if frame.config == "cascade" else 0
    return Need(
        spacing_mm=frame.spacing_mm[:2] if frame.config == "2d" else frame.spacing_mm,
        grid=frame.grid,
        in_channels=len(fingerprint.channels) + mask_channels,
        classes=len(fingerprint.regions) or len(fingerprint.labels) + 1,
        cases=fingerprint.cases,
    )


def _intensities(
    fingerprint: Fingerprint,
) -> tuple[tuple[ZScore | ClipAndScale | UnitRange, ...], tuple[Reason, ...]]:
    """The normalisation of each channel, and why."""
    ways, reasons = [], []
    for channel, statistics in zip(fingerprint.channels, fingerprint.statistics, strict=True):
        how, why = normalisation(channel, statistics, fingerprint.nonzero_share)
        ways.append(how)
        reasons.append(Reason(what=f"intensities of {channel.name}", value=how.kind, why=why))
    return tuple(ways), tuple(reasons)
