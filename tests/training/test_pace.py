"""A plan that goes by the steps it takes. What is planned for here is a machine that lies."""

from collections.abc import Callable
from itertools import count

import pytest

from medseg.dataset.effort import STEP_SECONDS, step_seconds
from medseg.dataset.plan import Plan
from medseg.dataset.topology import plain_unet, topology
from medseg.specs import Budget
from medseg.training.pace import MOST_PLANS, StepSeconds, plan_by_steps, two_digits

PATCH = (32, 32, 32)
BUDGET = Budget(seconds=900, memory_bytes=1 << 30, gflops=200)


class Planner:
    """Plans a network 32 wide where the machine is fast, and 16 wide where it is slow."""

    def __init__(self, plan: Plan, fast_gflops: float) -> None:
        self._plan, self._fast, self.budgets = plan, fast_gflops, list[Budget]()

    def __call__(self, budget: Budget) -> Plan:
        self.budgets.append(budget)
        width = 32 if budget.gflops >= self._fast else 16
        network = plain_unet(topology((1, 1, 1), PATCH), base=width, in_channels=1, classes=3)
        changed = {"network": network, "patch_size": PATCH, "budget": budget}
        return self._plan.model_copy(update=changed)


def at_speed(gflops: float) -> Callable[[Plan], StepSeconds]:
    """Steps on a machine of that speed."""

    def step_of(plan: Plan) -> StepSeconds:
        budget = BUDGET.model_copy(update={"gflops": gflops})
        batch = plan.recipe.batch_size
        return StepSeconds(0, step_seconds(plan.network, plan.patch_size, batch, budget))

    return step_of


def test_a_step_that_is_as_foretold_changes_nothing(plan: Plan) -> None:
    make = Planner(plan, fast_gflops=150)
    assert plan_by_steps(make, BUDGET, at_speed(190)).budget == BUDGET
    assert len(make.budgets) == 1


def test_a_slow_step_leads_to_a_smaller_network(plan: Plan) -> None:
    make = Planner(plan, fast_gflops=150)
    made = plan_by_steps(make, BUDGET, at_speed(60))
    assert made.network.features[0] == 16
    assert made.budget.gflops == pytest.approx(60, rel=0.05)
    foretold = step_seconds(made.network, PATCH, made.recipe.batch_size, made.budget)
    assert at_speed(60)(made).whole == pytest.approx(foretold, rel=0.05)


def test_a_fast_step_leads_to_a_larger_one(plan: Plan) -> None:
    make = Planner(plan, fast_gflops=300)
    made = plan_by_steps(make, BUDGET, at_speed(400))
    assert made.network.features[0] == 32


def test_networks_that_send_each_other_back_end(plan: Plan) -> None:
    make = Planner(plan, fast_gflops=150)
    speeds = {32: 100.0, 16: 250.0}
    made = plan_by_steps(make, BUDGET, lambda p: at_speed(speeds[p.network.features[0]])(p))
    assert len(make.budgets) <= MOST_PLANS + 1
    assert made.network.features[0] in speeds


def test_trying_ends_with_its_share_of_the_time(plan: Plan) -> None:
    make, clock = Planner(plan, fast_gflops=150), count(0, 20)
    plan_by_steps(make, BUDGET, at_speed(1), clock=lambda: next(clock))
    assert len(make.budgets) == 2


def test_passes_are_planned_without_steps(plan: Plan) -> None:
    def never(_: Plan) -> StepSeconds:
        raise AssertionError("a step was taken")

    budget = Budget(epochs=3, memory_bytes=1 << 30, gflops=200)
    assert plan_by_steps(Planner(plan, 150), budget, never).budget == budget


def test_a_step_that_fits_no_memory_tells_nothing(plan: Plan) -> None:
    assert plan_by_steps(Planner(plan, 150), BUDGET, lambda _: None).budget == BUDGET


def test_what_no_size_explains_is_no_reason_for_a_speed_of_nothing(plan: Plan) -> None:
    made = plan_by_steps(Planner(plan, 150), BUDGET, lambda _: StepSeconds(0, STEP_SECONDS / 100))
    assert 0 < made.budget.gflops < 1e7


def test_digits_that_are_noise_are_left_out() -> None:
    assert [two_digits(x) for x in (283.4, 96.6, 1234.0, 0.0123)] == [280, 97, 1200, 0.012]
