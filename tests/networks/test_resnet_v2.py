import pytest
import torch
from torch import nn

from medseg.networks.resnet_v2 import Bottleneck, ResNetV2, StandardisedConv


def resnet(dims=2, width=4):
    return ResNetV2(in_channels=1, width=width, units=(1, 1, 2), dims=dims)


def test_filters_are_standardised_before_they_are_used():
    conv = StandardisedConv(2, 4, 3)
    image = torch.rand(1, 2, 5, 5)
    before = conv(image)
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    torch.testing.assert_close(conv(image), before, atol=1e-3, rtol=1e-3)


def test_a_standardised_filter_has_mean_0_and_variance_1():
    conv = StandardisedConv(3, 1, 5)
    impulse = torch.zeros(1, 3, 9, 9, 9)[..., 0].clone()
    filters = []
    for channel in range(3):
        impulse.zero_()[0, channel, 4, 4] = 1
        filters.append(conv(impulse)[0, 0, 2:7, 2:7])
    values = torch.stack(filters)
    assert values.mean().item() == pytest.approx(0, abs=1e-5)
    assert values.var(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_every_convolution_is_standardised_and_every_norm_is_of_groups():
    network = resnet(width=64)
    assert not any(isinstance(m, nn.Conv2d | nn.BatchNorm2d) for m in network.modules())
    groups = {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)}
    assert groups == {32, 256, 512, 1024}, "32, and one for each channel of a projection"


@pytest.mark.parametrize("dims", [2, 3])
def test_skips_of_three_scales_and_the_deepest_features(dims):
    deepest, skips = resnet(dims)(torch.rand(1, 1, *(32,) * dims))
    assert deepest.shape == (1, 64, *(2,) * dims)
    assert [tuple(s.shape) for s in skips] == [
        (1, 32, *(4,) * dims), (1, 16, *(8,) * dims), (1, 4, *(16,) * dims)
    ]  # fmt: skip


def test_the_pool_is_not_padded_and_its_skip_is_filled_up_with_zeros():
    network, seen = resnet(), []
    network.stages[0].register_forward_hook(lambda _, given, out: seen.append(out.shape))
    _, skips = network(torch.rand(1, 1, 224, 224))
    assert seen[0][2:] == (55, 55)
    quarter = skips[1]
    assert quarter.shape[2:] == (56, 56)
    assert not quarter[:, :, 55].any()
    assert not quarter[:, :, :, 55].any()
    assert quarter[:, :, 54].any()


def test_the_next_stage_reads_the_grid_that_was_not_filled_up():
    network, seen = resnet(), []
    network.stages[1].register_forward_hook(lambda _, given, out: seen.append(given[0].shape))
    network(torch.rand(1, 1, 64, 64))
    assert seen[0][2:] == (15, 15)


def test_the_stride_is_on_the_middle_convolution():
    block = Bottleneck(8, 16, stride=2, groups=2, dims=2)
    assert [c.stride for c in (block.conv1, block.conv2, block.conv3)] == [1, 2, 1]
    assert block.projection[0].stride == 2


def test_a_unit_that_keeps_its_shape_adds_what_came_in():
    block = Bottleneck(8, 8, stride=1, groups=2, dims=2)
    nn.init.zeros_(block.norm3.weight)
    image = torch.rand(1, 8, 4, 4)
    torch.testing.assert_close(block(image), image)
