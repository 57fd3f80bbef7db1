import pytest
import torch

from medseg.errors import WrongInput
from medseg.networks.sizes import require_exactly, require_multiples
from medseg.specs.mednext import MedNeXtSpec

SPEC = MedNeXtSpec(
    dims=3,
    in_channels=2,
    classes=2,
    strides=((2, 2, 1), (2, 2, 2)),
    blocks=(1,) * 5,
    expansions=(1,) * 5,
)


@pytest.mark.parametrize("grid", [(8, 4, 2), (4, 8, 2), (4, 4, 4)])
def test_multiples_of_which_one_is_at_least_twice_are_taken(grid):
    require_multiples(torch.zeros(1, 2, *grid), SPEC)


@pytest.mark.parametrize("grid", [(4, 4, 2), (8, 4, 3), (6, 4, 2)])
def test_other_grids_are_refused(grid):
    with pytest.raises(WrongInput, match=r"multiples of \(4, 4, 2\), at least one axis twice"):
        require_multiples(torch.zeros(1, 2, *grid), SPEC)


def test_a_fixed_grid_is_taken_alone():
    require_exactly(torch.zeros(1, 2, 8, 4, 2), SPEC, (8, 4, 2))
    with pytest.raises(WrongInput, match=r"exactly \(8, 4, 2\)"):
        require_exactly(torch.zeros(1, 2, 8, 4, 4), SPEC, (8, 4, 2))


@pytest.mark.parametrize("shape", [(1, 1, 8, 4, 2), (1, 2, 8, 4)])
def test_wrong_channels_or_axes_are_refused(shape):
    with pytest.raises(WrongInput, match="2 channels, 3 spatial axes"):
        require_multiples(torch.zeros(shape), SPEC)
