import pytest
import torch
from contract import Contract
from counting import gmacs, parameters
from torch import nn

from medseg.errors import WrongInput
from medseg.networks import build, paper_spec
from medseg.specs import UNetSpec


def small(dims=2, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 2, "features": (4, 6, 8),
        "strides": ((1,) * dims, (2,) * dims, (2,) * dims),
    }  # fmt: skip
    return UNetSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((18, 16), r"multiples of \(4, 4\), at least one axis twice")


def test_parameters_and_multiplications_of_the_paper():
    with torch.device("meta"):
        network = build(paper_spec("unet"))
    assert parameters(network) == 31_030_658
    assert gmacs(network, 1, (572, 572)) == pytest.approx(150.4, abs=0.05)


def test_a_tile_of_the_paper_loses_92_pixels_at_each_side():
    with torch.device("meta"):
        network = build(paper_spec("unet")).eval()
        assert network(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)


def test_every_pool_divides_a_tile_of_valid_convolutions():
    spec = paper_spec("unet")
    assert spec.output_grid((572, 572)) == (388, 388)
    assert spec.output_grid((570, 572)) is None
    assert spec.smallest_grid == (188, 188)
    assert spec.output_grid((188, 204)) == (4, 20)


def test_other_tiles_are_refused_with_those_that_work():
    network = build(small(padding="valid"))
    smallest = network.spec.smallest_grid
    assert network(torch.rand(1, 1, *smallest)).shape[2:] == network.spec.output_grid(smallest)
    with pytest.raises(WrongInput, match=r"are \(44, 44\) plus multiples of \(4, 4\)"):
        network(torch.rand(1, 1, 46, 46))


@pytest.mark.parametrize("dims", [2, 3])
def test_valid_convolutions_see_what_padded_ones_see_in_the_middle(dims):
    padded, valid = build(small(dims)).eval(), build(small(dims, padding="valid")).eval()
    valid.load_state_dict(padded.state_dict())
    # A border of 2, so that pools cut both alike: convolutions have lost 2 before the first pool.
    image = torch.rand(1, 1, *(48,) * dims)
    tile = image[(..., *(slice(2, 46),) * dims)]
    middle = (..., *(slice(22, 26),) * dims)
    torch.testing.assert_close(valid(tile), padded(image)[middle], atol=1e-5, rtol=1e-4)


def test_nothing_is_normalised_and_up_convolutions_are_rectified():
    network = build(small())
    kinds = {type(m) for m in network.modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, nn.ConvTranspose2d, nn.ReLU, nn.Dropout}
    assert all(isinstance(up[1], nn.ReLU) for up in network.ups)
    assert all(m.bias is not None for m in network.modules() if hasattr(m, "kernel_size"))


def test_the_two_coarsest_stages_are_dropped_in_part():
    dropped = [isinstance(stage[-1], nn.Dropout) for stage in build(small()).encoder]
    assert dropped == [False, True, True]
    assert build(small()).encoder[-1][-1].p == 0.5


def test_weights_have_the_spread_of_the_paper():
    torch.manual_seed(0)
    network = build(small(features=(32, 64, 128)))
    second = network.encoder[1][2].weight
    assert second.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    up = network.ups[0][0].weight
    assert up.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.03)


def test_pools_follow_the_strides():
    network = build(small(3, strides=((1, 1, 1), (2, 2, 1), (2, 2, 2))))
    assert network.spec.divisor == (4, 4, 2)
    assert network(torch.rand(1, 1, 8, 8, 6)).shape == (1, 2, 8, 8, 6)
