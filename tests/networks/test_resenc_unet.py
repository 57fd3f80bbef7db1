import pytest
import torch
from contract import Contract
from counting import gmacs, parameters
from torch import nn

from medseg.networks import build, paper_spec
from medseg.networks.resenc_unet import ResidualBlock
from medseg.specs import ResEncUNetSpec


def small(dims=3, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 2, "features": (4, 6, 6),
        "kernels": ((3,) * dims,) * 3, "strides": ((1,) * dims, (2,) * dims, (2,) * dims),
        "encoder_blocks": (1, 2, 1), "decoder_convs": (1, 1),
    }  # fmt: skip
    return ResEncUNetSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((16, 8, 6), r"multiples of \(4, 4, 4\), at least one axis twice")


def test_parameters_and_multiplications_of_the_paper():
    with torch.device("meta"):
        network = build(paper_spec("resenc_unet"))
    assert parameters(network) == 102_350_575
    assert gmacs(network, 1, (128, 128, 128)) == pytest.approx(717.5, abs=0.05)
    assert gmacs(network, 1, (160, 160, 160)) == pytest.approx(1401.4, abs=0.1)


def test_what_passes_by_is_averaged_before_it_is_projected():
    block = ResidualBlock(2, 4, (3, 3), (2, 2))
    assert [type(m) for m in block.shortcut] == [nn.AvgPool2d, nn.Conv2d, nn.InstanceNorm2d]
    assert block.shortcut[1].bias is None
    assert block.shortcut[1].stride == (1, 1)
    assert len(ResidualBlock(4, 4, (3, 3), (2, 2)).shortcut) == 1
    assert len(ResidualBlock(4, 4, (3, 3), (1, 1)).shortcut) == 0


def test_only_the_sum_is_rectified_behind_the_second_convolution():
    block, image = ResidualBlock(3, 3, (3, 3), (1, 1)), torch.rand(1, 3, 8, 8)
    expected = nn.functional.leaky_relu(block.norm(block.second(block.first(image))) + image, 0.01)
    torch.testing.assert_close(block(image), expected)


def test_each_block_begins_as_what_passes_by():
    blocks = [m for m in build(small()).modules() if isinstance(m, ResidualBlock)]
    assert len(blocks) == 4
    assert not any(block.norm.weight.any() or block.norm.bias.any() for block in blocks)
    image = torch.rand(1, 6, 8, 8, 8)
    torch.testing.assert_close(blocks[2](image), image)


def test_the_stem_and_every_convolution_have_a_bias():
    network = build(small())
    assert network.encoder[0][0].conv.in_channels == 1
    skipped = {m.shortcut[-2] for m in network.modules()
               if isinstance(m, ResidualBlock) and len(m.shortcut) > 1}  # fmt: skip
    convs = [m for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    assert all((m.bias is None) == (m in skipped) for m in convs)
