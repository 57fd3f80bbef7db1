"""Laws of the numbers that 8 bits can tell apart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.compression.grids import (
    WEIGHT_LIMIT,
    Grid,
    Seen,
    affine_grid,
    grid_of,
    on_weight_grid,
    weight_scales,
)


def seen(values):
    values = np.asarray(values, np.float32)
    return Seen(float(values.min()), float(values.max()), values)


finite = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20)


@pytest.mark.parametrize("choose", [grid_of, affine_grid])
@settings(deadline=None)
@given(values=finite)
def test_zero_is_on_every_grid_and_what_is_on_it_stays(choose, values):
    grid = choose(seen(values))
    assert grid(torch.zeros(1)).item() == 0
    once = grid(torch.tensor(values))
    torch.testing.assert_close(grid(once), once)


def test_nothing_within_is_moved_by_more_than_half_a_step():
    values = torch.linspace(0, 10, 1000)
    for grid in (Grid(10 / 255, 0, 0, 255), affine_grid(seen(values.numpy()))):
        inside = values <= grid.scale * (grid.highest - grid.zero)
        assert float((grid(values) - values)[inside].abs().max()) <= grid.scale / 2 + 1e-6


def test_small_negative_values_do_not_cost_a_bit():
    leaky = np.concatenate([np.linspace(0, 8, 500), np.linspace(-0.02, 0, 500)])
    assert not grid_of(seen(leaky)).is_signed
    assert grid_of(seen(np.linspace(-8, 8, 500))).is_signed
    assert grid_of(seen(leaky), symmetric=True).is_signed


def test_an_outlier_is_cut_off_where_that_loses_less():
    values = np.concatenate([np.linspace(0, 1, 100_000), [1.6]])
    assert grid_of(seen(values)).scale < 1.55 / 255


def test_together_is_one_range():
    both = Seen.together([seen([-1, 2]), seen([0, 5])])
    assert (both.lowest, both.highest, sorted(both.sample)) == (-1, 5, [-1, 0, 2, 5])


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_have_a_scale_for_each_channel(axis):
    weight = torch.randn(4, 5, 3, 3)
    weight.select(axis, 2).mul_(100)
    weight.select(axis, 3).zero_()
    scales = weight_scales(weight, axis)
    assert scales.shape == (weight.shape[axis],)
    assert scales[2] > 20 * scales[1]
    integers = on_weight_grid(weight, axis).movedim(axis, 0) / scales.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(integers, integers.round(), atol=1e-3, rtol=0)
    assert float(integers.abs().max()) == pytest.approx(WEIGHT_LIMIT)


def test_gradients_pass_but_where_values_are_cut_off():
    values = torch.tensor([0.3, 0.7, 40.0], requires_grad=True)
    Grid(0.1, 0, 0, 255)(values).sum().backward()
    assert values.grad.tolist() == [1, 1, 0]
