"""How much network a budget of time pays for.

nnU-Net takes 250,000 steps, whatever they cost. Here the time is given, and the largest network
that still takes enough steps in it is the best one: a large network that was hardly trained is
worse than a small one that was. All constants of this trade stand here.
"""

from dataclasses import dataclass
from math import inf

from medseg.dataset.cost import feature_values, muon_gflop, training_gflop
from medseg.specs import Budget, NetworkSpec, PlainUNetSpec, ResEncUNetSpec, UNet3DSpec, UNetSpec
from medseg.types import GridSize

SMALLEST_BATCH = 2
"""Patches a step, at least."""

TRAINING_SHARE = 0.85
"""Share of the time that is left for steps: the rest reads, preprocesses, validates and writes."""

NETWORK_SHARE = 0.97
"""Share of a step that is network and loss, where the optimizer takes none; the rest varies samples
and averages weights."""

SPEED_OF_MATRICES = 0.36
"""GFLOP/s of Muon's matrix products, relative to a convolution. Measured on one core, where they
ran at 100 (in fp32, as they always do) beside a convolution's 275 (in bf16)."""

SPEED_OF_WIDTH = {32: 1.0, 16: 0.76, 8: 0.27}
"""GFLOP/s of a step by the width of the first stage, relative to width 32, which reaches the speed
of a single convolution. Measured on one core (213 and 76 against 280 GFLOP/s). Widths between are
no use: processors work on 16 channels at a time, and a step at width 24 or 12 takes longer than at
32 or 16."""

FLOP_PER_VALUE = 1700
"""What gates, attention and depthwise convolutions do with each value of a feature map, as
operations that take as long. Measured on one core, where a convolution 32 wide ran at 158 GFLOP/s:
1,300 to 1,500 for MedT, 1,900 for Swin UNETR, 1,700 (3D) and 700 (2D) for MedNeXt, 2,500 for UNETR.
TransUNet takes up to twice as long as this says."""

STEP_SECONDS = 0.01
"""What a step takes whatever the network: drawing samples, starting kernels, moving weights."""

STEPS_TO_EXCEED = 50_000
"""Steps that a patch larger than nnU-Net's must get, where the memory would hold one."""

STEPS_TO_WIDEN = 3000
"""Steps that a network wider than 16 must get. Measured on 144 hippocampus cases in four minutes of
one core: 764 steps at width 16 reach a Dice of 0.879, 347 steps at width 24 reach 0.873."""

STEPS_TO_KEEP = 400
"""Steps that make it worth keeping width and patch; below, both shrink."""

STEPS_TO_GROW_BATCH = 10_000
"""Steps that must remain when a batch grows beyond `SMALLEST_BATCH`."""

FULL_EPOCHS = 1000
"""Passes over the cases where a budget limits neither time nor epochs."""


@dataclass(frozen=True)
class Rung:
    """One size of network.

    Attributes:
        width: Features of the first stage.
        share: Voxels of the patch, as a share of nnU-Net's; inf is what the memory holds.
        steps: Steps in the time that make this size worth it.
    """

    width: int
    share: float
    steps: int


LADDER = (
    Rung(32, inf, STEPS_TO_EXCEED),
    Rung(32, 1.0, STEPS_TO_WIDEN),
    Rung(16, 1.0, STEPS_TO_KEEP),
    Rung(16, 0.5, STEPS_TO_KEEP),
    Rung(16, 0.25, STEPS_TO_KEEP),
    Rung(16, 0.125, STEPS_TO_KEEP),
    Rung(8, 0.125, STEPS_TO_KEEP),
    Rung(8, 0.0625, STEPS_TO_KEEP),
    Rung(8, 0.03125, 0),
)
"""Sizes from the largest down; the first that is worth it is planned."""


@dataclass(frozen=True)
class Effort:
    """What a budget pays for.

    Attributes:
        steps: Optimiser steps that are expected.
        passes: How often each training case is seen.
    """

    steps: int
    passes: float

    @property
    def views(self) -> str:
        """How often each case is seen, in words: "16 times"."""
        return f"{self.passes:,.0f} times" if self.passes >= 10 else f"{self.passes:.2g} times"


def steps_in_time(spec: NetworkSpec, patch_size: GridSize, batch_size: int, budget: Budget) -> int:
    """Steps that fit the seconds of a budget.

    Args:
        spec: The network.
        patch_size: Voxels along I, J, K.
        batch_size: Patches a step.
        budget: One with `seconds`.

    Raises:
        ValueError: If the budget counts epochs.
    """
    if budget.seconds is None:
        raise ValueError("steps_in_time needs a budget in seconds")
    seconds = step_seconds(spec, patch_size, batch_size, budget)
    return int(budget.seconds * TRAINING_SHARE / seconds)


def step_seconds(spec: NetworkSpec, patch_size: GridSize, batch_size: int, budget: Budget) -> float:
    """What a step of training takes on the machine of a budget.

    Args:
        spec: The network.
        patch_size: Voxels along I, J, K.
        batch_size: Patches a step.
        budget: Its speed counts.
    """
    gflop, speed = training_gflop(spec, patch_size, batch_size), 1.0
    match spec:
        case PlainUNetSpec() | ResEncUNetSpec():
            speed = SPEED_OF_WIDTH.get(spec.features[0], 1.0)
        case UNetSpec() | UNet3DSpec():
            pass
        case _:
            gflop += FLOP_PER_VALUE / 1e9 * batch_size * feature_values(spec, patch_size)
    moving = muon_gflop(spec) / (budget.gflops * SPEED_OF_MATRICES)
    return STEP_SECONDS + gflop / (budget.gflops * NETWORK_SHARE * speed) + moving


def effort(
    spec: NetworkSpec, patch_size: GridSize, batch_size: int, budget: Budget, cases: int
) -> Effort:
    """What will have been seen when the budget is spent."""
    if budget.seconds is not None:
        steps = steps_in_time(spec, patch_size, batch_size, budget)
    else:
        steps = max(1, round((budget.epochs or FULL_EPOCHS) * cases / batch_size))
    return Effort(steps, steps * batch_size / cases)


def batch_in_time(spec: NetworkSpec, patch_size: GridSize, most: int, budget: Budget) -> int:
    """The largest batch of at most `most` that leaves `STEPS_TO_GROW_BATCH` steps, at least 2."""
    if budget.seconds is None:
        return most
    sizes = range(most, SMALLEST_BATCH, -1)
    enough = (n for n in sizes if steps_in_time(spec, patch_size, n, budget) >= STEPS_TO_GROW_BATCH)
    return next(enough, SMALLEST_BATCH)
