from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.specs import RecipeSpec
from medseg.training.schedule import BySteps, ByTime, Load, command_clock, learning_rate

RECIPES = [
    RecipeSpec(schedule="cosine", warmup_share=0.0),
    RecipeSpec(schedule="cosine", warmup_share=0.1),
    RecipeSpec(schedule="polynomial", warmup_share=0.0),
    RecipeSpec(schedule="polynomial", warmup_share=0.1),
]


class Time:
    """A clock that goes on only when it is told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("recipe", RECIPES)
def test_rate_rises_in_the_warm_up_and_falls_to_zero(recipe: RecipeSpec) -> None:
    rates = [learning_rate(n / 100, recipe) for n in range(101)]
    peak = round(100 * recipe.warmup_share)
    assert rates[peak] == pytest.approx(recipe.learning_rate)
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


@given(st.floats(-1, 2))
def test_rate_stays_between_zero_and_the_recipes(share: float) -> None:
    for recipe in RECIPES:
        assert 0.0 <= learning_rate(share, recipe) <= recipe.learning_rate


def test_by_steps_ends_after_its_steps() -> None:
    table = BySteps(4)
    assert [table.is_over(step) for step in range(6)] == [False] * 4 + [True] * 2
    assert [table.share(step) for step in (0, 3, 4)] == [0.125, 0.875, 1.0]


@given(steps=st.lists(st.floats(0.01, 2.0), min_size=1, max_size=8), begin=st.floats(0, 50))
def test_by_time_ends_within_its_longest_step(steps: list[float], begin: float) -> None:
    clock, longest = Time(begin), max(steps)
    table = ByTime(clock, end=begin + 20)
    taken = cycle(steps)
    while not table.is_over(0):
        clock.now += next(taken)
    assert 20 - 2 * longest <= clock.now - begin <= 20 + longest


def test_by_time_ends_in_time_on_a_machine_that_gets_slow() -> None:
    clock = Time()
    table = ByTime(clock, end=60.0)
    shares = []
    while not table.is_over(0):
        shares.append(table.share(0))
        clock.now += 0.1 if clock.now < 30 else 1.0
    assert 58.5 <= clock.now <= 60.0
    assert shares == sorted(shares)
    assert shares[-1] > 0.95


def test_resumed_time_goes_on_with_the_share_it_had() -> None:
    clock = Time(400.0)
    table = ByTime(clock, end=900.0, spent=300.0)
    assert table.total == 800.0
    assert table.share(0) == pytest.approx(300 / 800)
    clock.now = 900.0
    assert table.share(0) == 1.0


def test_no_time_left_is_over_at_once() -> None:
    table = ByTime(Time(10.0), end=10.0)
    assert table.is_over(0) or table.share(0) == 1.0


def test_command_clock_counts_from_the_age_it_is_given() -> None:
    clock = command_clock(100.0)
    assert 100.0 <= clock() <= clock() < 160.0


def test_load_is_wall_time_over_own_time() -> None:
    wall, busy = Time(), Time()
    load = Load(wall, busy)
    assert load() == 1.0
    for _ in range(40):
        wall.now += 3.0
        busy.now += 1.0
        load()
    assert load() == pytest.approx(3.0, rel=0.01)
    for _ in range(40):
        wall.now += 3.0
        busy.now += 3.0
        load()
    assert load() == pytest.approx(1.0, rel=0.01)


def test_a_busy_machine_stops_earlier_because_its_tail_takes_longer() -> None:
    clock = Time()
    table = ByTime(clock, end=100.0, tail=5.0, load=lambda: 1.0 if clock.now < 50 else 4.0)
    shares = []
    while not table.is_over(0):
        shares.append(table.share(0))
        clock.now += 0.5
    assert 79 <= clock.now <= 80
    assert shares == sorted(shares)
    assert shares[-1] > 0.98
