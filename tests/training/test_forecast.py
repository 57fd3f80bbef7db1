"""A forecast finds the end of curves that saturate, and its error holds it as often as it says."""

import math
from itertools import pairwise

import numpy as np
import pytest

from medseg.training.forecast import LEAST_LOOKS, PATIENCE, Sight, forecast, has_settled


def curve(
    count: int, *, top: float = 0.9, gain: float = 0.5, time: float = 0.08, noise: float = 0.0,
    seed: int = 0, spread: float = 0.0, cases: int = 4,
) -> list[Sight]:  # fmt: skip
    """Looks at each twentieth of a training whose Dice saturates; noise wanders."""
    wander = (
        np.random.default_rng(seed).normal(scale=noise, size=19).cumsum() if noise else [0] * 19
    )
    return [
        Sight(0.05 * (n + 1), top - gain * math.exp(-0.05 * (n + 1) / time) + w, spread, cases)
        for n, w in zip(range(count), wander, strict=False)
    ]


def test_nothing_is_foretold_from_few_looks() -> None:
    assert forecast(curve(LEAST_LOOKS - 1), held_out=20) is None
    assert forecast(curve(LEAST_LOOKS), held_out=20) is not None


@pytest.mark.parametrize("time", [0.04, 0.08, 0.15, 0.3])
def test_the_end_of_a_smooth_curve_is_found(time: float) -> None:
    found = forecast(curve(8, time=time), held_out=4)
    assert found is not None
    assert found.dice == pytest.approx(0.9 - 0.5 * math.exp(-1 / time), abs=1e-6)


def test_a_curve_that_falls_is_not_said_to_rise() -> None:
    falling = [sight._replace(dice=0.9 - 0.01 * n) for n, sight in enumerate(curve(8))]
    found = forecast(falling, held_out=4)
    assert found is not None
    assert falling[-1].dice <= found.dice <= falling[0].dice


def test_the_error_shrinks_towards_the_end_and_grows_with_noise() -> None:
    zigzag = [0.9 + 0.005 * (-1) ** n for n in range(18)]
    looks = [Sight(0.05 * (n + 1), dice, 0.0, 4) for n, dice in enumerate(zigzag)]
    errors = [forecast(looks[:n], held_out=4) for n in (4, 10, 18)]
    assert all(a and b and a.error > b.error for a, b in pairwise(errors))
    loud, calm = (forecast(curve(10, noise=n), held_out=4) for n in (0.02, 0.002))
    assert loud is not None
    assert calm is not None
    assert loud.error > 2 * calm.error


@pytest.mark.parametrize("looks", [5, 10, 15])
def test_it_holds_nine_times_of_ten(looks: int) -> None:
    held = 0
    for seed in range(200):
        whole = curve(19, noise=0.004, seed=seed)
        found = forecast(whole[:looks], held_out=4)
        held += found is not None and abs(found.dice - whole[-1].dice) <= found.error
    assert held / 200 > 0.85


def test_few_cases_say_little_of_many() -> None:
    all_seen, few, none_apart = (
        forecast(curve(10, spread=spread), held_out=held_out)
        for spread, held_out in ((0.03, 4), (0.03, 40), (0.0, 40))
    )
    assert all_seen is not None
    assert few is not None
    assert none_apart is not None
    assert all_seen.error == none_apart.error
    by_hand = 2.353 * 0.03 * math.sqrt(0.9 / 4)
    assert few.error == pytest.approx(math.hypot(none_apart.error, by_hand), rel=1e-3)


def test_it_stays_a_dice() -> None:
    steep = [Sight(0.05 * n, 0.1 * n, 0.0, 4) for n in (1, 2, 3, 4)]
    found = forecast(steep, held_out=4)
    assert found is not None
    assert 0 <= found.dice <= 1
    assert found.error <= 1
    assert str(found) == f"{found.dice:.3f} ± {found.error:.3f}"


def test_a_look_is_the_mean_of_its_cases() -> None:
    assert Sight.of(0.5, (0.7, 0.9)) == pytest.approx((0.5, 0.8, math.sqrt(0.02), 2))
    assert Sight.of(0.5, (0.7,)) == (0.5, 0.7, 0.0, 1)
    assert Sight.of(0.5, ()) == (0.5, 0.0, 0.0, 0)


def test_settled_means_no_gain_for_the_patience() -> None:
    flat = [Sight(0.05 * n, 0.8, 0.0, 4) for n in range(PATIENCE + 1)]
    assert has_settled(flat)
    assert not has_settled(flat[:-1])
    assert not has_settled([*flat[:-1], flat[-1]._replace(dice=0.81)])
