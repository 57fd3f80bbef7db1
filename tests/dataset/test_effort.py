"""Steps that a budget pays for."""

import pytest
from planning import CPU_QUARTER

from medseg.dataset.effort import batch_in_time, effort, step_seconds, steps_in_time
from medseg.dataset.topology import plain_unet, topology

PATCH = (32, 32, 32)
SPEC = plain_unet(topology((1, 1, 1), PATCH), base=16, in_channels=1, classes=2)


def test_steps_grow_with_time_and_speed_and_shrink_with_the_batch():
    steps = steps_in_time(SPEC, PATCH, 2, CPU_QUARTER)
    twice = CPU_QUARTER.model_copy(update={"seconds": 1800})
    assert steps_in_time(SPEC, PATCH, 2, twice) == pytest.approx(2 * steps, abs=2)
    faster = CPU_QUARTER.model_copy(update={"gflops": 800})
    assert 1.6 * steps < steps_in_time(SPEC, PATCH, 2, faster) < 2 * steps
    assert steps / 2 < steps_in_time(SPEC, PATCH, 4, CPU_QUARTER) < steps / 1.6


def test_a_step_of_known_cost():
    # 57.4 GFLOP at 267 GFLOP/s of one core took 0.27 s for network and loss.
    spec = plain_unet(topology((1, 1, 1), (40, 56, 40)), base=16, in_channels=1, classes=3)
    budget = CPU_QUARTER.model_copy(update={"gflops": 267.0, "seconds": 1000})
    assert 850 / steps_in_time(spec, (40, 56, 40), 2, budget) == pytest.approx(0.31, abs=0.02)


def test_time_is_needed_to_count_steps_in_it():
    with pytest.raises(ValueError, match="in seconds"):
        steps_in_time(SPEC, PATCH, 2, CPU_QUARTER.model_copy(update={"seconds": None}))


def test_epochs_are_passes():
    budget = CPU_QUARTER.model_copy(update={"seconds": None, "epochs": 10})
    spent = effort(SPEC, PATCH, 4, budget, cases=20)
    assert (spent.steps, spent.passes) == (50, 10)


def test_a_batch_grows_when_enough_steps_remain():
    assert batch_in_time(SPEC, PATCH, 8, CPU_QUARTER) == 2
    days = CPU_QUARTER.model_copy(update={"seconds": 86_400 * 30})
    assert batch_in_time(SPEC, PATCH, 8, days) == 8


def test_what_the_optimizer_takes_is_the_same_for_any_batch():
    # 32 to 512 features on slices: the network took 0.2 s of a step of two slices, Muon 0.8 s.
    patch = (128, 128, 1)
    spec = plain_unet(topology((1, 1), patch[:2]), base=32, in_channels=1, classes=3)
    budget = CPU_QUARTER.model_copy(update={"gflops": 275.0})
    one, two, twelve = (step_seconds(spec, patch, n, budget) for n in (1, 2, 12))
    assert two == pytest.approx(1.05, rel=0.15)
    assert twelve == pytest.approx(1.84, rel=0.15)
    assert twelve - two == pytest.approx(10 * (two - one))
