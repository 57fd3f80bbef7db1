import jaxtyping
import pytest
import torch
from torch import nn

from medseg.networks.blocks import ConvNormAct, initialise, stacked, up_convolution


def test_shapes_are_checked_while_testing():
    block = ConvNormAct(2, 4, (3, 3), (1, 1))
    with pytest.raises(jaxtyping.TypeCheckError, match="image"):
        block(torch.zeros(3))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_stride_divides_the_grid(dims):
    block = ConvNormAct(2, 4, (3,) * dims, (1,) * (dims - 1) + (2,))
    assert block(torch.rand(1, 2, *(8,) * dims)).shape == (1, 4, *(8,) * (dims - 1), 4)


def test_each_channel_is_normalised_then_rectified():
    block = ConvNormAct(1, 3, (3, 3, 3), (1, 1, 1))
    before = torch.where((out := block(torch.rand(2, 1, 8, 8, 8))) < 0, out / 0.01, out)
    torch.testing.assert_close(before.mean((2, 3, 4)), torch.zeros(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        before.std((2, 3, 4), correction=0), torch.ones(2, 3), atol=1e-2, rtol=0
    )


def test_only_the_first_of_a_stack_takes_the_stride():
    block = stacked(1, 4, (3, 3), (2, 2), 3)
    assert [part.conv.stride for part in block] == [(2, 2), (1, 1), (1, 1)]
    assert [part.conv.in_channels for part in block] == [1, 4, 4]


def test_an_up_convolution_writes_each_voxel_once():
    up = up_convolution(1, 1, (2, 1))
    nn.init.ones_(up.weight)
    nn.init.zeros_(up.bias)
    assert torch.equal(up(torch.ones(1, 1, 3, 3)), torch.ones(1, 1, 6, 3))


def test_weights_have_the_spread_of_kaiming_and_no_bias():
    conv = nn.Conv3d(64, 64, 3)
    initialise(conv)
    expected = (2 / (1 + 0.01**2) / (64 * 27)) ** 0.5
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert not conv.bias.any()
