"""A plan that goes by real steps: it is made again where they were foretold wrong.

The probe of a machine times one convolution; how fast a whole network is follows from that only
roughly, for some kinds of network more than for others. So the network that was planned takes a few
steps. If they take longer or shorter than the plan thought, it is planned again with the speed that
this network had, which may lead to another network, which then takes a few steps too.
"""

import time
from collections.abc import Callable
from math import log
from typing import NamedTuple

from medseg.dataset.effort import NETWORK_SHARE, STEP_SECONDS, step_seconds
from medseg.dataset.plan import Plan
from medseg.specs import Budget, NetworkSpec
from medseg.types import GridSize

TOLERANCE = 0.15
"""A step that takes so much longer or shorter than foretold is as foretold."""

MOST_SHARE = 0.03
"""Share of the budget that trying steps may take; a plan is not made again when it is used up."""

MOST_PLANS = 4
"""Plans that are tried at most."""

_LEAST_VARYING = 0.1
"""Share of a step that goes with the size of the network, at least."""

_MOST_FASTER = 4.0
"""How many times faster than its probe a machine is believed to be by one look at a step."""


class StepSeconds(NamedTuple):
    """What the parts of a step take.

    Attributes:
        network: The network and its loss on a batch, forward and backward.
        optimizer: Moving the weights, whatever the batch.
    """

    network: float
    optimizer: float

    @property
    def whole(self) -> float:
        """The step, with what else belongs to it."""
        return self.network / NETWORK_SHARE + self.optimizer


def plan_by_steps(
    make: Callable[[Budget], Plan],
    budget: Budget,
    step_of: Callable[[Plan], StepSeconds | None],
    clock: Callable[[], float] = time.monotonic,
) -> Plan:
    """Make a plan for a time, as fast as its network really is.

    Args:
        make: Plans for a budget.
        budget: What may be spent, with the speed that a probe found. One without a limit of time
            is planned for once: its plan does not depend on speed.
        step_of: Takes steps of a plan; None where they cannot be taken.
        clock: Seconds.
    """
    plan = make(budget)
    if budget.seconds is None:
        return plan
    end = clock() + MOST_SHARE * budget.seconds
    tried: list[tuple[NetworkSpec, GridSize, int]] = []
    while len(tried) < MOST_PLANS and clock() < end:
        found = (plan.network, plan.patch_size, plan.recipe.batch_size)
        step = None if found in tried else step_of(plan)
        if step is None:
            break
        tried.append(found)
        foretold, taken = step_seconds(*found, budget), step.whole
        if abs(log(foretold / taken)) <= log(1 + TOLERANCE):
            break
        budget = _at_pace(budget, foretold, taken)
        plan = make(budget)
    return plan


def _at_pace(budget: Budget, foretold: float, taken: float) -> Budget:
    """The budget of a machine on which a step takes as long as it took."""
    varying = max(taken - STEP_SECONDS, _LEAST_VARYING * taken)
    faster = min((foretold - STEP_SECONDS) / varying, _MOST_FASTER)
    return budget.model_copy(update={"gflops": two_digits(budget.gflops * faster)})


def two_digits(speed: float) -> float:
    """A speed without the digits that are noise, so that plans do not change with them."""
    return float(f"{speed:.2g}")
