import pytest
import torch
from torch import nn

from medseg.networks.pooled import initialise_by_inputs, middle_of, pooled, up_convolution_of


@pytest.mark.parametrize("step", [(2, 2), (2, 1), (2, 2, 1)])
def test_the_largest_of_each_step_is_kept(step):
    grid = tuple(3 * s for s in step)
    image = torch.rand(1, 2, *grid)
    out = pooled(image, step)
    assert out.shape[2:] == (3,) * len(step)
    first = image[(..., *(slice(0, s) for s in step))]
    torch.testing.assert_close(out[(..., *(0,) * len(step))], first.flatten(2).amax(2))


def test_the_middle_leaves_out_as_much_at_both_sides():
    image = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1, 1, 8, 6)
    assert middle_of(image, (4, 6))[0, 0, :, 0].tolist() == [2, 3, 4, 5]
    assert torch.equal(middle_of(image, (8, 6)), image)


def test_the_spread_follows_the_values_that_an_output_is_made_from():
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv3d(32, 32, 3), up_convolution_of(64, 64, (2, 2, 2)))
    initialise_by_inputs(part)
    assert part[0].weight.std().item() == pytest.approx((2 / (27 * 32)) ** 0.5, rel=0.03)
    assert part[1].weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    assert not part[0].bias.any()
    assert not part[1].bias.any()


def test_rectified_values_keep_their_spread_through_many_layers():
    torch.manual_seed(0)
    layers = [m for _ in range(8) for m in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(*layers)
    initialise_by_inputs(network)
    image = torch.randn(2, 32, 24, 24)
    with torch.no_grad():
        out = network(image)[:, :, 9:15, 9:15]
    assert 0.2 < (out.square().mean() / image.square().mean()).item() < 3
