"""Which network, patch and batch memory and time allow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, prod

from medseg.dataset.cost import training_memory_bytes
from medseg.dataset.effort import LADDER, SMALLEST_BATCH, Rung, batch_in_time, steps_in_time
from medseg.dataset.rules import DATASET_SHARE, batch_limit, largest_patch
from medseg.dataset.scaling import scaled_by
from medseg.dataset.topology import Topology
from medseg.errors import PlanError
from medseg.specs import Budget, NetworkSpec
from medseg.specs.settings import fitting_grid
from medseg.specs.training import Preset
from medseg.types import GridSize

REFERENCE_MEMORY_BYTES = 8 << 30
"""Of the graphics card that nnU-Net plans for; more of it makes batches larger before patches."""

PRESET_MEMORY_BYTES: dict[Preset, int] = {"m": 8 << 30, "l": 24 << 30, "xl": 40 << 30}
"""Of the cards that nnU-Net's presets of the residual encoder are planned for (Isensee et al.,
nnU-Net Revisited, MICCAI 2024)."""


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
        width: Features of the first stage, where nnU-Net's are `FULL_WIDTH`; other kinds of network
            are as wide in proportion to their paper.
        full_patch: nnU-Net's patch, as far as the memory holds it.
        full_width: nnU-Net's width, as far as the memory holds it.
        memory_batch: The batch that memory alone would allow.
        most_batch: The batch that the size of the data set allows.
        memory_bytes: What was planned for: the machine's memory, or less with a preset.
        patch_memory_bytes: Memory of the card that patches are as large as.
    """

    network: NetworkSpec
    patch_size: GridSize
    batch_size: int
    width: int
    full_patch: GridSize
    full_width: int
    memory_batch: int
    most_batch: int
    memory_bytes: int
    patch_memory_bytes: int


@dataclass(frozen=True)
class _Candidate:
    rung: Rung
    network: NetworkSpec
    patch_size: GridSize

    def is_worth_it(self, budget: Budget) -> bool:
        """Whether it takes enough steps; without a limit of time nnU-Net's own size is."""
        if budget.seconds is None:
            return self.rung.share <= 1
        steps = steps_in_time(self.network, self.patch_size, SMALLEST_BATCH, budget)
        return steps >= self.rung.steps


def choose_network(need: Need, budget: Budget, arch: str = "plain_unet") -> Choice:
    """The largest network of a kind that fits the memory and still takes enough steps in the time.

    Raises:
        PlanError: If there is no such kind, or not even its smallest network fits the memory.
    """
    budget = _within_preset(budget)
    candidates = list(_candidates(need, budget, arch))
    if not candidates:
        raise _no_memory(need, budget)
    chosen = next((c for c in candidates if c.is_worth_it(budget)), candidates[-1])
    by_memory = _batch_in_memory(chosen.network, chosen.patch_size, budget)
    share = DATASET_SHARE if budget.preset is None else 1.0
    by_data = batch_limit(chosen.patch_size, need.grid, need.cases, share=share)
    most = min(by_memory, by_data)
    own = next((c for c in candidates if c.rung.share <= 1), candidates[0])
    return Choice(
        network=chosen.network,
        patch_size=chosen.patch_size,
        batch_size=batch_in_time(chosen.network, chosen.patch_size, most, budget),
        width=chosen.rung.width,
        full_patch=own.patch_size,
        full_width=own.rung.width,
        memory_batch=by_memory,
        most_batch=by_data,
        memory_bytes=budget.memory_bytes,
        patch_memory_bytes=min(_card_bytes(budget), budget.memory_bytes),
    )


def patch_in_memory(need: Need, budget: Budget, arch: str = "plain_unet") -> GridSize:
    """nnU-Net's patch of a kind of network, as far as the memory holds it, whatever the time.

    Raises:
        PlanError: If there is no such kind, or not even its smallest network fits the memory.
    """
    budget = _within_preset(budget)
    limited = [rung for rung in LADDER if rung.share <= 1]
    found = next(_candidates(need, budget, arch, limited), None)
    if found is None:
        raise _no_memory(need, budget)
    return found.patch_size


def _within_preset(budget: Budget) -> Budget:
    """The budget with no more memory than the card of its preset has."""
    if budget.preset is None:
        return budget
    most = min(budget.memory_bytes, _card_bytes(budget))
    return budget.model_copy(update={"memory_bytes": most})


def _card_bytes(budget: Budget) -> int:
    """Memory of the card that patches are planned for."""
    return PRESET_MEMORY_BYTES[budget.preset] if budget.preset else REFERENCE_MEMORY_BYTES


def _no_memory(need: Need, budget: Budget) -> PlanError:
    return PlanError(
        "A training step of the smallest network must fit the memory.",
        received=f"{budget.memory_bytes / 2**20:.3g} MiB for {need.in_channels} channels and "
        f"{need.classes} classes",
        cure="Use a machine with more memory: medseg plan --memory 4G shows what that gives.",
    )


def _candidates(
    need: Need, budget: Budget, arch: str, ladder: Sequence[Rung] = LADDER
) -> Iterator[_Candidate]:
    """One network for each rung of the ladder that fits the memory, largest first."""
    reference = Budget(memory_bytes=_card_bytes(budget), device="cuda", gflops=1)
    own: int | None = None
    for rung in ladder:
        limited = rung.share <= 1
        network_of = partial(
            scaled_by(arch), base=rung.width, in_channels=need.in_channels, classes=need.classes
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
        network = network_of(shape)
        patch = _patch_of(network, shape)
        if limited and own is None:
            own = prod(patch)
        yield _Candidate(rung, network, patch)


def _fits(
    shape: Topology,
    *,
    network_of: Callable[[Topology], NetworkSpec],
    most_voxels: float,
    budgets: Sequence[Budget],
) -> bool:
    network = network_of(shape)
    patch = _patch_of(network, shape)
    return prod(patch) <= most_voxels and all(
        training_memory_bytes(network, patch, SMALLEST_BATCH, device=budget.device)
        <= budget.memory_bytes
        for budget in budgets
    )


def _batch_in_memory(network: NetworkSpec, patch_size: GridSize, budget: Budget) -> int:
    alone = training_memory_bytes(network, patch_size, 0, device=budget.device)
    sample = training_memory_bytes(network, patch_size, 1, device=budget.device) - alone
    return max(SMALLEST_BATCH, round((budget.memory_bytes - alone) / sample))


def _patch_of(network: NetworkSpec, shape: Topology) -> GridSize:
    """The patch of a shape, grown to one that the network takes."""
    i, j, *k = fitting_grid(shape.patch_size, network.divisor)
    return (i, j, k[0] if k else 1)
