"""Percentiles within 1 % of those of all numbers, in a room that does not grow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.inference.durations import Durations


@given(st.lists(st.floats(1e-5, 900.0), min_size=1, max_size=60), st.sampled_from([50, 95, 99]))
def test_percentiles_are_true_within_one_percent(seconds: list[float], percent: int) -> None:
    durations = Durations()
    for one in seconds:
        durations.add(one)
    wanted = np.percentile(seconds, percent, method="inverted_cdf")
    assert durations.percentile(percent) == pytest.approx(wanted, rel=0.0101)


def test_the_spread_of_known_numbers() -> None:
    durations = Durations()
    for ms in range(1, 101):
        durations.add(ms / 1000)
    spread = durations.spread()
    assert spread is not None
    assert (spread.mean_ms, spread.max_ms) == (50.5, 100.0)
    assert spread.p50_ms == pytest.approx(50, rel=0.01)
    assert spread.p95_ms == pytest.approx(95, rel=0.01)
    assert spread.p99_ms == pytest.approx(99, rel=0.01)


def test_extremes_stay_in_range() -> None:
    durations = Durations()
    durations.add(0.0)
    durations.add(1e7)
    assert durations.percentile(50) <= 1e-6
    assert durations.percentile(100) <= 1e7


def test_of_none_there_is_no_percentile() -> None:
    assert Durations().spread() is None
    with pytest.raises(ValueError, match="no duration yet"):
        Durations().percentile(50)
