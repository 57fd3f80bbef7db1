"""Which network, patch and batch memory and time allow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from medseg.dataset.cost import training_memory_bytes
from medseg.dataset.effort import LADDER, SMALLEST_BATCH, batch_in_time, steps_in_time, steps_wanted
from medseg.dataset.rules import LARGEST_PATCH, batch_limit, largest_patch
from medseg.dataset.topology import Topology, plain_unet
from medseg.errors import PlanError
from medseg.specs import Budget, PlainUNetSpec
from medseg.types import GridSize


@dataclass(frozen=True)
class Need:
    """What a network must do.

    Attributes:
        spacing_mm: Along the axes of the network.
        grid: Median grid size along I, J, K.
        in_channels: Channels of the image.
        classes: Classes, background included.
        cases: Training cases.
    """

    spacing_mm: Sequence[float]
    grid: GridSize
    in_channels: int
    classes: int
    cases: int


@dataclass(frozen=True)
class Choice:
    """A network that fits.

    Attributes:
        network: The network.
        patch_size: Voxels along I, J, K.
        batch_size: Patches a step.
        full_patch: The patch that memory alone would allow.
        full_width: The width that memory alone would allow.
        memory_batch: The batch that memory alone would allow.
        most_batch: The batch that the size of the data set allows.
    """

    network: PlainUNetSpec
    patch_size: GridSize
    batch_size: int
    full_patch: GridSize
    full_width: int
    memory_batch: int
    most_batch: int


def choose_network(need: Need, budget: Budget) -> Choice:
    """The largest network that fits the memory and still takes enough steps in the time.

    Raises:
        PlanError: If not even the smallest network fits the memory.
    """
    candidates = list(_candidates(need, budget))
    if not candidates:
        raise PlanError(
            "A training step of the smallest network must fit the memory.",
            received=f"{budget.memory_bytes / 2**20:.3g} MiB for {need.in_channels} channels and "
            f"{need.classes} classes",
            cure="Use a machine with more memory: medseg plan --memory 4G shows what that gives.",
        )
    full = candidates[0]
    network, shape = full
    if budget.seconds is not None:
        network, shape = next(filter(lambda c: _is_worth_it(c, budget), candidates), candidates[-1])
    patch_size = _as_grid(shape)
    by_memory = _batch_in_memory(network, patch_size, budget)
    by_data = batch_limit(patch_size, need.grid, need.cases)
    return Choice(
        network=network,
        patch_size=patch_size,
        batch_size=batch_in_time(network, patch_size, min(by_memory, by_data), budget),
        full_patch=_as_grid(full[1]),
        full_width=full[0].features[0],
        memory_batch=by_memory,
        most_batch=by_data,
    )


def _candidates(need: Need, budget: Budget) -> Iterator[tuple[PlainUNetSpec, Topology]]:
    """Networks that fit the memory, largest first; each patch at most its share of the first."""
    whole = float(LARGEST_PATCH[len(need.spacing_mm)])
    found = False
    for base, share in LADDER:
        network_of = partial(
            plain_unet, base=base, in_channels=need.in_channels, classes=need.classes
        )
        fits = partial(_fits, network_of=network_of, most_voxels=whole * share, budget=budget)
        shape = largest_patch(need.spacing_mm, need.grid, fits)
        if shape is None:
            continue
        if not found:
            found, whole = True, prod(shape.patch_size)
        yield network_of(shape), shape


def _fits(
    shape: Topology,
    *,
    network_of: Callable[[Topology], PlainUNetSpec],
    most_voxels: float,
    budget: Budget,
) -> bool:
    if prod(shape.patch_size) > most_voxels:
        return False
    network, patch = network_of(shape), shape.patch_size
    memory = training_memory_bytes(network, patch, SMALLEST_BATCH, device=budget.device)
    return memory <= budget.memory_bytes


def _is_worth_it(candidate: tuple[PlainUNetSpec, Topology], budget: Budget) -> bool:
    network, shape = candidate
    steps = steps_in_time(network, _as_grid(shape), SMALLEST_BATCH, budget)
    return steps >= steps_wanted(network.features[0])


def _batch_in_memory(network: PlainUNetSpec, patch_size: GridSize, budget: Budget) -> int:
    alone = training_memory_bytes(network, patch_size, 0, device=budget.device)
    sample = training_memory_bytes(network, patch_size, 1, device=budget.device) - alone
    return max(SMALLEST_BATCH, round((budget.memory_bytes - alone) / sample))


def _as_grid(shape: Topology) -> GridSize:
    i, j, *k = shape.patch_size
    return (i, j, k[0] if k else 1)
