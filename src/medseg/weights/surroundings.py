"""What a checkpoint does not say: labels, channels, spacing and axes, as a plan around its network.

A plan that is given counts; else there are stated defaults: 1 mm, intensities with mean 0 and
standard deviation 1, labels named "class 1" and so on.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from medseg.dataset.cost import training_memory_bytes
from medseg.dataset.description import Channel
from medseg.dataset.explain import Reason
from medseg.dataset.normalise import UnitRange, ZScore
from medseg.dataset.plan import Plan
from medseg.dataset.recipe import recipe
from medseg.errors import PlanError
from medseg.specs import PAPERS, AugmentSpec, Budget, LossSpec, MirrorSpec, NetworkSpec, WindowSpec
from medseg.specs.settings import fitting_grid
from medseg.types import GridSize, SpacingMm
from medseg.volume.labels import Label, Labels

ROWS_FIRST = {"R": "IPR", "L": "IPL", "A": "ILA", "P": "ILP", "S": "PLS", "I": "PLI"}
"""Where rows and columns of a slice point to as pictures show it, by where the slices go: I runs
down the rows and J along the columns."""

LONG_STEPS = 250_000
"""Steps of nnU-Net's standard training; a plan for going on has its recipe."""

_LARGEST_DEFAULT_PATCH = {2: 512, 3: 128}
_NO_SPEED_GFLOPS = 1.0
"""Nobody measured a machine for this plan."""


@dataclass(frozen=True)
class Wishes:
    """What the user says about the surroundings; None leaves it to the plan or the defaults.

    Attributes:
        plan: Everything but the network.
        labels: Names of the classes but background.
        spacing_mm: Distance between voxels along I, J, K.
        modality: Of all channels: "CT", "MR", "RGB".
        orientation: Where the axes of the network's images point to.
    """

    plan: Plan | None = None
    labels: tuple[str, ...] | None = None
    spacing_mm: SpacingMm | None = None
    modality: str | None = None
    orientation: str | None = None


def plan_around(
    spec: NetworkSpec, base: Plan | None, wishes: Wishes, *, name: str, sees_rows: bool
) -> Plan:
    """A plan with this network.

    Args:
        spec: The network, with the classes of its checkpoint.
        base: The plan that it is put into; None for the defaults.
        wishes: What was said.
        name: Of the data set, where no plan has one.
        sees_rows: Whether the network's images are rows x columns of a picture.

    Returns:
        A plan whose network has as many classes as the plan has labels or regions.

    Raises:
        PlanError: If they do not fit together.
    """
    labels = None if wishes.labels is None else _labels(wishes.labels)
    if base is None:
        base = _default_plan(spec, labels, wishes, name=name, sees_rows=sees_rows)
    elif sees_rows and wishes.orientation is None:
        base = _rows_first(base)
    _require_channels(spec, base)
    facts: dict[str, Any] = {"labels": labels or base.labels}
    classes = len(base.regions) or len(facts["labels"]) + 1
    facts["network"] = spec.model_copy(update={"classes": classes})
    patch = spec.fixed_grid or fitting_grid(base.patch_size[: spec.dims], spec.divisor)
    i, j, k = (*patch, 1)[:3]
    facts["patch_size"] = (i, j, k)
    facts["window"] = base.window.model_copy(update={"patch_size": (i, j, k)})
    if wishes.spacing_mm is not None:
        facts["spacing_mm"] = wishes.spacing_mm
    if wishes.orientation is not None:
        facts["orientation"] = wishes.orientation
    if wishes.modality is not None:
        facts["channels"] = tuple(
            channel.model_copy(update={"modality": wishes.modality}) for channel in base.channels
        )
    return checked_plan(base.model_copy(update=facts).model_dump())


def checked_plan(facts: dict[str, Any]) -> Plan:
    """A plan of these facts.

    Raises:
        PlanError: If they do not fit together.
    """
    try:
        return Plan.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise PlanError(
            "Network and surroundings of a bundle fit together.",
            received=f"{where}: {first['msg']}",
            cure="Give another --plan, or say --labels, --spacing-mm or --orientation.",
        ) from error


def training_settings(
    spec: NetworkSpec, patch_size: GridSize, batch_size: int, *, mirror_axes: tuple[int, ...]
) -> dict[str, Any]:
    """What a plan says about training and prediction: nnU-Net's own ways."""
    along = patch_size[2] == 1 or max(patch_size[:2]) / patch_size[2] > 3
    turn = (0.0, 0.0, 180.0) if along else (30.0, 30.0, 30.0)
    memory = training_memory_bytes(spec, patch_size, batch_size, device="cpu")
    return {
        "loss": LossSpec(),
        "augment": AugmentSpec(rotation_degrees=turn, mirror=MirrorSpec(axes=_axes(mirror_axes))),
        "recipe": recipe(LONG_STEPS, batch_size)[0],
        "window": WindowSpec(patch_size=patch_size),
        "budget": Budget(memory_bytes=memory, gflops=_NO_SPEED_GFLOPS),
    }


def _default_plan(
    spec: NetworkSpec, labels: Labels | None, wishes: Wishes, *, name: str, sees_rows: bool
) -> Plan:
    is_picture = spec.dims == 2 and spec.in_channels == 3
    names = ("red", "green", "blue") if is_picture else _numbered("channel", spec.in_channels)
    modality = wishes.modality or ("RGB" if is_picture else "")
    patch = spec.fixed_grid or _default_patch(spec)
    i, j, k = (*patch, 1)[:3]
    axes = tuple(range(spec.dims))
    way = UnitRange(scale=255) if is_picture else ZScore()
    return checked_plan(
        {
            "dataset": name,
            "config": "2d" if spec.dims == 2 else "3d_full",
            "channels": tuple(Channel(name=n, modality=modality) for n in names),
            "labels": labels or _labels(_numbered("class", spec.classes - 1)),
            "normalisations": (way,) * spec.in_channels,
            "orientation": wishes.orientation or (ROWS_FIRST["S"] if sees_rows else "RAS"),
            "spacing_mm": wishes.spacing_mm or (1.0, 1.0, 1.0),
            "crop_to_nonzero": False,
            "patch_size": (i, j, k),
            "network": spec.model_copy(
                update={"classes": spec.classes if labels is None else len(labels) + 1}
            ),
            "median_grid": (i, j, k),
            "reasons": (
                Reason(
                    what="surroundings",
                    value="defaults",
                    why="The checkpoint does not say how its images were prepared.",
                ),
            ),
            **training_settings(spec, (i, j, k), 2, mirror_axes=axes),
        }
    )


def _default_patch(spec: NetworkSpec) -> tuple[int, ...]:
    """The paper's grid, where it has as many axes; where positions are learned, theirs."""
    learned: tuple[int, ...] | None = getattr(spec, "grid", None)
    grid = learned or PAPERS[spec.kind].grid
    if len(grid) != spec.dims:
        grid = (_LARGEST_DEFAULT_PATCH[spec.dims],) * spec.dims
    return fitting_grid(grid, spec.divisor)


def _rows_first(plan: Plan) -> Plan:
    """The same plan, its slices laid as pictures: I down the rows, J along the columns."""
    wanted = ROWS_FIRST[plan.orientation[2]]
    axes = ["RL", "AP", "SI"]
    before = [next(n for n, axis in enumerate(axes) if x in axis) for x in plan.orientation]
    order = [before.index(next(n for n, a in enumerate(axes) if x in a)) for x in wanted]
    moved = {
        name: tuple(getattr(plan, name)[axis] for axis in order)
        for name in ("spacing_mm", "patch_size", "median_grid")
    }
    mirror = MirrorSpec(axes=_axes(tuple(order.index(a) for a in plan.augment.mirror.axes)))
    augment = plan.augment.model_copy(update={"mirror": mirror})
    return plan.model_copy(update={**moved, "orientation": wanted, "augment": augment})


def _require_channels(spec: NetworkSpec, plan: Plan) -> None:
    if spec.in_channels != len(plan.channels) or spec.dims != (2 if plan.config == "2d" else 3):
        raise PlanError(
            f"The network takes {spec.in_channels} channels of {spec.dims} spatial axes, as the "
            "images of the plan have.",
            received=f"a {plan.config} plan with {len(plan.channels)} channels",
            cure="Give a --plan for such images.",
        )


def _labels(names: tuple[str, ...]) -> Labels:
    return tuple(Label(value=n, name=name) for n, name in enumerate(names, start=1))


def _numbered(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word} {n}" for n in range(1, count + 1))


def _axes(axes: tuple[int, ...]) -> Any:
    return tuple(sorted(axes))
