import pytest
import torch
import torch.nn.functional as F
from contract import Contract
from counting import gmacs, parameters
from torch import nn

from medseg.networks import build, paper_spec
from medseg.networks.attention_unet import AttentionGate, AttentionUNet
from medseg.specs import AttentionUNetSpec


def small(dims=3, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 2, "features": (4, 6, 8, 10),
        "strides": ((1,) * dims, *((2,) * dims,) * 3),
    }  # fmt: skip
    return AttentionUNetSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((16, 8, 12), r"multiples of \(8, 8, 8\), at least one axis twice")


class TestContractWithoutGates(Contract):
    promised = (2,)
    is_own_kind = False

    def spec(self, dims, **changes):
        return small(dims, is_gated=False, **changes)


@pytest.mark.parametrize(("is_gated", "count"), [(True, 6_473_322), (False, 5_888_004)])
def test_parameters_of_the_paper(is_gated, count):
    with torch.device("meta"):
        network = build(AttentionUNetSpec.paper(is_gated=is_gated))
    assert parameters(network) == count


def test_multiplications_of_the_paper():
    with torch.device("meta"):
        network = build(paper_spec("attention_unet"))
    assert gmacs(network, 1, (160, 160, 96)) == pytest.approx(173.3, abs=0.05)


@pytest.mark.parametrize("step", [(2, 2, 2), (2, 2, 1), (2, 2)])
def test_skip_and_signal_meet_on_the_grid_of_the_signal(step):
    gate, seen = AttentionGate(3, 5, step), {}
    for name in ("theta", "phi", "psi"):
        layer = getattr(gate, name)
        layer.register_forward_hook(lambda m, given, out, name=name: seen.update({name: out}))
    skip = torch.rand(2, 3, *(4 * s for s in step))
    gated, weights = gate(skip, torch.rand(2, 5, *(4,) * len(step)))
    assert seen["theta"].shape[2:] == seen["psi"].shape[2:] == (4,) * len(step)
    assert gated.shape == skip.shape
    assert weights.shape == (2, 1, *skip.shape[2:])


def test_a_gate_as_the_paper_writes_it():
    gate = AttentionGate(3, 5, (2, 2)).eval()
    skip, signal = torch.rand(1, 3, 8, 8), torch.rand(1, 5, 4, 4)
    here = F.conv2d(skip, gate.theta.weight, stride=2)
    there = F.conv2d(signal, gate.phi.weight, gate.phi.bias)
    coarse = F.conv2d((here + there).relu(), gate.psi.weight, gate.psi.bias).sigmoid()
    alpha = F.interpolate(coarse, (8, 8), mode="bilinear")
    gated, weights = gate(skip, signal)
    torch.testing.assert_close(weights, alpha)
    torch.testing.assert_close(gated, gate.out[1](gate.out[0](alpha * skip)))


def test_a_signal_of_another_grid_is_interpolated():
    gate = AttentionGate(3, 5, (2, 2)).eval()
    skip, signal = torch.rand(1, 3, 8, 8), torch.rand(1, 5, 1, 1)
    constant = signal.expand(1, 5, 4, 4)
    torch.testing.assert_close(gate(skip, signal)[0], gate(skip, constant)[0])


def test_only_the_projection_of_the_skip_has_no_bias():
    gate = AttentionGate(3, 5, (2, 2))
    assert gate.theta.bias is None
    assert gate.theta.kernel_size == gate.theta.stride == (2, 2)
    assert all(layer.bias is not None for layer in (gate.phi, gate.psi, gate.out[0]))
    assert isinstance(gate.out[1], nn.BatchNorm2d)


def test_a_closed_gate_lets_no_voxel_through():
    network = AttentionUNet(small(2)).eval()
    image = torch.rand(1, 1, 16, 16)
    for gate in network.gates:
        for one in (gate.first, gate.second):
            nn.init.constant_(one.psi.bias, -1e4)
    assert all(not weights.any() for weights in network.attention(image))


def test_maps_lie_on_the_grids_of_their_skips_and_the_finest_skip_has_none():
    maps = AttentionUNet(small()).eval().attention(torch.rand(1, 1, 16, 16, 16))
    assert [tuple(m.shape) for m in maps] == [(1, 2, 4, 4, 4), (1, 2, 8, 8, 8)]
    assert all(((m >= 0) & (m <= 1)).all() for m in maps)
    assert AttentionUNet(small(is_gated=False)).eval().attention(torch.rand(1, 1, 16, 16, 16)) == ()


def test_every_scale_has_a_say_in_the_logits():
    network = AttentionUNet(small(2)).eval()
    image = torch.rand(1, 1, 16, 16)
    before = network(image)
    for score in network.scores:
        with torch.no_grad():
            score.bias.add_(1)
        assert not torch.allclose(network(image), before)
        before = network(image)


def test_two_stages_have_no_skip_to_gate():
    network = build(small(2, features=(4, 6), strides=((1, 1), (2, 2))))
    assert not network.gates
    network(torch.rand(2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
