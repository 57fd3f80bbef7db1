import pytest
import torch
from contract import Contract
from counting import gmacs, parameters
from pydantic import ValidationError
from torch import nn

from medseg.networks import build, paper_spec
from medseg.specs import UNet3DSpec


def small(dims=3, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 2, "features": (4, 6, 8),
        "strides": ((1,) * dims, (2,) * dims, (2,) * dims),
    }  # fmt: skip
    return UNet3DSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((16, 8, 6), r"multiples of \(4, 4, 4\), at least one axis twice")


def test_parameters_and_multiplications_of_the_paper():
    with torch.device("meta"):
        network = build(paper_spec("unet3d"))
    assert parameters(network) == 19_075_523
    assert gmacs(network, 3, (132, 132, 116)) == pytest.approx(266.7, abs=0.05)


def test_a_tile_of_the_paper_loses_44_voxels_at_each_side():
    with torch.device("meta"):
        network = build(paper_spec("unet3d")).eval()
        assert network(torch.empty(1, 3, 132, 132, 116)).shape == (1, 3, 44, 44, 28)


def test_channels_are_doubled_before_each_pool():
    with torch.device("meta"):
        network = build(paper_spec("unet3d"))
    widths = [[m.out_channels for m in stage if isinstance(m, nn.Conv3d)]
              for stage in network.encoder]  # fmt: skip
    assert widths == [[32, 64], [64, 128], [128, 256], [256, 512]]


def test_up_convolutions_keep_their_channels():
    with torch.device("meta"):
        network = build(paper_spec("unet3d"))
    assert [(up.in_channels, up.out_channels) for up in network.ups] == [
        (512, 512), (256, 256), (128, 128)
    ]  # fmt: skip
    assert [stage[0].in_channels for stage in network.decoder] == [768, 384, 192]
    assert all(up.bias is not None for up in network.ups)


def test_normalisation_comes_before_each_relu():
    for stage in build(small()).encoder:
        assert [type(m) for m in stage] == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2


def test_an_odd_width_cannot_be_halved():
    with pytest.raises(ValidationError, match="features are even"):
        small(features=(4, 7, 8))
