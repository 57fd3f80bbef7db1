import pytest

from medseg.specs.settings import fitting_grid, scaled_width


@pytest.mark.parametrize(
    ("grid", "divisor", "fitting"),
    [
        ((96, 96), (16, 16), (96, 96)),
        ((95, 17), (16, 16), (96, 32)),
        ((16, 16), (16, 16), (32, 16)),
        ((5, 9, 3), (16, 16, 16), (16, 32, 16)),
        ((1, 1), (1, 1), (2, 1)),
    ],
)
def test_a_grid_grows_to_one_that_fits(grid, divisor, fitting):
    assert fitting_grid(grid, divisor) == fitting
    assert fitting_grid(fitting, divisor) == fitting


@pytest.mark.parametrize(
    ("full", "share", "step", "width"), [(64, 0.5, 4, 32), (48, 0.1, 12, 12), (16, 0.3, 4, 4)]
)
def test_a_share_of_a_width_is_whole_steps(full, share, step, width):
    assert scaled_width(full, share, step) == width
