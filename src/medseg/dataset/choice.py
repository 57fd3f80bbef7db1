"""Which network, patch and batch memory and time allow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, prod

from medseg.dataset.cost import training_memory_bytes
from medseg.dataset.effort import LADDER, SMALLEST_BATCH, Rung, batch_in_time, steps_in_time
from medseg.dataset.rules import batch_limit, largest_patch
from medseg.dataset.topology import Topology, plain_unet
from medseg.errors import PlanError
from medseg.specs import Budget, PlainUNetSpec
from medseg.types import GridSize

REFERENCE_MEMORY_BYTES = 8 << 30
"""Of the graphics card that nnU-Net plans for; more of it makes batches larger before patches."""


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
        full_patch: nnU-Net's patch, as far as the memory holds it.
        full_width: nnU-Net's width, as far as the memory holds it.
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


@dataclass(frozen=True)
class _Candidate:
    rung: Rung
    network: PlainUNetSpec
    patch_size: GridSize

    def is_worth_it(self, budget: Budget) -> bool:
        """Whether it takes enough steps; without a limit of time nnU-Net's own size is."""
        if budget.seconds is None:
            return self.rung.share <= 1
        steps = steps_in_time(self.network, self.patch_size, SMALLEST_BATCH, budget)
        return steps >= self.rung.steps


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
    chosen = next((c for c in candidates if c.is_worth_it(budget)), candidates[-1])
    by_memory = _batch_in_memory(chosen.network, chosen.patch_size, budget)
    by_data = batch_limit(chosen.patch_size, need.grid, need.cases)
    most = min(by_memory, by_data)
    own = next((c for c in candidates if c.rung.share <= 1), candidates[0])
    return Choice(
        network=chosen.network,
        patch_size=chosen.patch_size,
        batch_size=batch_in_time(chosen.network, chosen.patch_size, most, budget),
        full_patch=own.patch_size,
        full_width=own.network.features[0],
        memory_batch=by_memory,
        most_batch=by_data,
    )


def _candidates(need: Need, budget: Budget) -> Iterator[_Candidate]:
    """One network for each rung of the ladder that fits the memory, largest first."""
    reference = Budget(memory_bytes=REFERENCE_MEMORY_BYTES, device="cuda", gflops=1)
    own: int | None = None
    for rung in LADDER:
        limited = rung.share <= 1
        network_of = partial(
            plain_unet, base=rung.width, in_channels=need.in_channels, classes=need.classes
        )

        fits = partial(
            _fits,
            network_of=network_of,
            most_voxels=inf if own is None else own * rung.share,
            budgets=(budget, reference) if limited else (budget,),
        )
        shape = largest_patch(need.spacing_mm, need.grid, fits)
        if shape is None:
            continue
        if limited and own is None:
            own = prod(shape.patch_size)
        yield _Candidate(rung, network_of(shape), _as_grid(shape))


def _fits(
    shape: Topology,
    *,
    network_of: Callable[[Topology], PlainUNetSpec],
    most_voxels: float,
    budgets: Sequence[Budget],
) -> bool:
    if prod(shape.patch_size) > most_voxels:
        return False
    network, patch = network_of(shape), shape.patch_size
    return all(
        training_memory_bytes(network, patch, SMALLEST_BATCH, device=budget.device)
        <= budget.memory_bytes
        for budget in budgets
    )


def _batch_in_memory(network: PlainUNetSpec, patch_size: GridSize, budget: Budget) -> int:
    alone = training_memory_bytes(network, patch_size, 0, device=budget.device)
    sample = training_memory_bytes(network, patch_size, 1, device=budget.device) - alone
    return max(SMALLEST_BATCH, round((budget.memory_bytes - alone) / sample))


def _as_grid(shape: Topology) -> GridSize:
    i, j, *k = shape.patch_size
    return (i, j, k[0] if k else 1)
