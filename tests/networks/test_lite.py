import pytest
import torch
from contract import Contract
from counting import gmacs, parameters
from torch import nn

from medseg.networks import build, paper_spec
from medseg.specs import LiteSpec


def small(dims=3, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 3, "features": (4, 6, 8),
        "kernels": ((3,) * dims,) * 2, "strides": ((1,) * dims, (2,) * dims, (2,) * dims),
        "encoder_convs": (2, 2),
    }  # fmt: skip
    return LiteSpec(**(settings | changes))


def trained(spec, steps=3):
    """A network whose normalisations have seen something, and have scales of their own."""
    network = build(spec).train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    for _ in range(steps):
        network(torch.randn(2, spec.in_channels, *(16, 8, 8)[: spec.dims]))
    return network.eval()


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((16, 8, 6), r"multiples of \(4, 4, 4\), at least one axis twice")


ALLOWED = {"conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "relu", "relu_", "add"}
"""Operators that ONNX, OpenVINO and TensorRT have, of two and of three axes."""


def test_parameters_and_multiplications_of_the_reference():
    with torch.device("meta"):
        network = build(paper_spec("lite"))
    assert parameters(network) == 3_972_879
    assert gmacs(network, 1, (128, 128, 128)) == pytest.approx(23.3, abs=0.05)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_deployed_network_gives_the_same_logits(dims):
    network, image = trained(small(dims)), torch.randn(2, 1, *(16, 8, 8)[:dims])
    with torch.no_grad():
        expected, deployed = network(image), network.deployed()
        assert expected.std() > 0.1
        torch.testing.assert_close(deployed(image), expected, atol=1e-5, rtol=1e-5)
        slab = deployed.head(deployed.features(image)[:, :, 3:7])
        torch.testing.assert_close(slab, expected[:, :, 3:7], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_deployed_network_is_a_copy_of_simple_operators(dims):
    network = build(small(dims))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    deployed = network.deployed()
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not deployed.training
    program = torch.export.export(deployed, (torch.rand(1, 1, *(16, 8, 8)[:dims]),))
    used = {n.target.__name__.split(".")[0] for n in program.graph.nodes if n.op == "call_function"}
    assert used <= ALLOWED
    # The form that learns has more: a check that could not fail would let it pass.
    learning = torch.export.export(network.eval(), (torch.rand(1, 1, *(16, 8, 8)[:dims]),))
    more = {n.target.__name__ for n in learning.graph.nodes if n.op == "call_function"}
    assert any("batch_norm" in name for name in more)


def test_no_convolution_works_on_the_grid_of_the_image():
    network, grids = trained(small(2)), []
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _m, _i, out: grids.append(tuple(out.shape[2:])))
    network(torch.rand(1, 1, 16, 8))
    assert grids.pop() == (16, 8)  # the head
    assert max(grids) == (8, 4)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_place_of_the_last_kernel_learns_whatever_it_gives(dims):
    network = build(small(dims))
    with torch.no_grad():
        network.ups[-1].bias.fill_(-100)
    network(torch.rand(2, 1, *(16, 8, 8)[:dims]))[0].square().sum().backward()
    places = network.ups[-1].weight.grad.abs().sum((0, 1))
    assert places.shape == (2,) * dims
    assert (places > 0).all()


def test_prediction_does_not_compute_coarse_heads():
    network = build(small()).eval()
    network.heads[1].register_forward_hook(lambda *_: pytest.fail("a coarse head was computed"))
    network(torch.rand(1, 1, 16, 8, 8))
    assert len(network.deployed().heads) == 1


def test_thick_slices_are_halved_later():
    strides, kernels = ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3))
    network = trained(small(strides=strides, kernels=kernels))
    assert network.encoder[0][0].conv.padding == (1, 1, 0)
    image = torch.randn(1, 1, 8, 12, 6)
    with torch.no_grad():
        assert network(image).shape == (1, 3, 8, 12, 6)
        torch.testing.assert_close(network.deployed()(image), network(image), atol=1e-5, rtol=1e-5)


def test_two_stages_are_enough():
    stages = {"features": (4, 6), "strides": ((1, 1), (2, 2)), "kernels": ((3, 3),)}
    (logits,) = build(small(2, **stages, encoder_convs=(1,)))(torch.rand(2, 1, 8, 8))
    assert logits.shape == (2, 3, 8, 8)
