import pytest
import torch
import torch.nn.functional as F
from contract import Contract
from counting import gmacs, parameters

from medseg.networks.transunet import PlaneWiseConv, TransUNet, with_neighbour_planes
from medseg.specs.transformers import TransUNetSpec


def small(dims=2, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 3, "grid": (32,) * dims, "stem_width": 4,
        "units": (1, 1, 1), "token_width": 8, "mlp_width": 16, "heads": 2, "layers": 1,
        "bridge_width": 8, "decoder_widths": (8, 6, 4, 4),
    }  # fmt: skip
    return TransUNetSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((40, 32), r"multiples of \(16, 16\), at least one axis twice")

    def grid(self, dims):
        return (32, 32) if dims == 2 else (32, 16, 16)


def test_parameters_and_multiplications_of_the_paper():
    with torch.device("meta"):
        network = TransUNet(TransUNetSpec.paper())
    assert parameters(network) == 105_277_081
    assert gmacs(network, 3, (224, 224)) == pytest.approx(29.2, abs=0.05)


def test_skips_of_the_paper():
    with torch.device("meta"):
        network = TransUNet(TransUNetSpec.paper())
        deepest, skips = network.resnet(torch.empty(1, 3, 224, 224))
    assert deepest.shape == (1, 1024, 14, 14)
    assert [(s.shape[1], 224 // s.shape[2]) for s in skips] == [(512, 8), (256, 4), (64, 2)]
    entering = [stage[0][0].in_channels for stage in network.decoder]
    assert entering == [512 + 512, 256 + 256, 128 + 64, 64]


@pytest.mark.parametrize("dims", [2, 3])
def test_other_sizes_than_that_of_the_positions_work(dims):
    network = TransUNet(small(dims)).eval()
    grid = (48,) + (32,) * (dims - 1)
    assert network(torch.rand(1, 1, *grid)).shape == (1, 3, *grid)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_head_is_a_padded_convolution_of_edge_3(dims):
    head, image = PlaneWiseConv(2, 3, dims), torch.rand(2, 2, *(5,) * dims)
    plain = (F.conv2d if dims == 2 else F.conv3d)(image, head.weight, head.bias, padding=1)
    torch.testing.assert_close(head(with_neighbour_planes(image)), plain)


def test_features_rise_with_their_corners_in_place():
    network, seen = TransUNet(small()).eval(), []
    network.bridge.register_forward_hook(lambda _, given, out: seen.append(out))
    network.decoder[0].register_forward_hook(lambda _, given, out: seen.append(given[0]))
    network(torch.rand(1, 1, 32, 32))
    coarse, raised = seen
    torch.testing.assert_close(raised[:, :8, 0, 0], coarse[:, :, 0, 0])
    torch.testing.assert_close(raised[:, :8, -1, -1], coarse[:, :, -1, -1])
