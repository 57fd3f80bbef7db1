"""Costs of every kind of network, against the networks themselves."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from medseg.dataset.cost import KEPT, feature_values, gmacs, parameter_count
from medseg.dataset.scaling import SCALED
from medseg.dataset.topology import topology
from medseg.networks import build, names
from medseg.specs import PAPERS, AttentionUNetSpec, MedNeXtSpec, MedTSpec, SwinUNETRSpec
from medseg.specs.settings import fitting_grid

SHAPES = {2: topology((1.0, 1.0), (64, 48)), 3: topology((1.0, 1.0, 2.5), (32, 32, 12))}
FURTHER = {
    "ungated": (AttentionUNetSpec.paper(is_gated=False), (160, 160, 96)),
    "swin v2": (SwinUNETRSpec.paper(2), (96, 96, 96)),
    "mednext L": (MedNeXtSpec.paper("L", kernel=5), (64, 64, 64)),
}


def on_meta(spec):
    with torch.device("meta"):
        return build(spec)


def counted_parameters(spec):
    return sum(p.numel() for p in on_meta(spec).parameters())


def counted_gmacs(spec, grid):
    network = on_meta(spec)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        network.train()(torch.empty(2, spec.in_channels, *grid))
    return counter.get_total_flops() / 2 / 2e9


def bytes_kept(spec, grid, batch):
    """What a forward pass keeps for the backward pass, each tensor once."""
    network, kept = on_meta(spec).train(), {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = (storage.nbytes(), tensor)
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        output = network(torch.empty(batch, spec.in_channels, *grid))
        scales = output if isinstance(output, tuple) else (output,)
        # Whatever the graph keeps stays alive while it does.
        assert sum(scale.square().mean() for scale in scales).requires_grad
    return sum(size for size, _ in kept.values())


def _tolerance(spec):
    """Torch counts no product of one channel, as the queries of MedT's first heads are."""
    return 0.04 if isinstance(spec, MedTSpec) else 1e-3


def scaled(name, dims, base=16):
    spec = SCALED[name](SHAPES[dims], base=base, in_channels=2, classes=3)
    return spec, fitting_grid(SHAPES[dims].patch_size, spec.divisor)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_settings_cost_what_is_counted(name):
    spec, grid = PAPERS[name].spec(), PAPERS[name].grid
    assert parameter_count(spec) == counted_parameters(spec)
    assert gmacs(spec, grid) == pytest.approx(counted_gmacs(spec, grid), rel=_tolerance(spec))


@pytest.mark.parametrize("name", FURTHER)
def test_their_variants_too(name):
    spec, grid = FURTHER[name]
    assert parameter_count(spec) == counted_parameters(spec)
    assert gmacs(spec, grid) == pytest.approx(counted_gmacs(spec, grid), rel=_tolerance(spec))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", SCALED)
def test_scaled_ones_cost_what_is_counted(name, dims):
    spec, grid = scaled(name, dims)
    assert parameter_count(spec) == counted_parameters(spec)
    assert gmacs(spec, grid) == pytest.approx(counted_gmacs(spec, grid), rel=_tolerance(spec))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", SCALED)
def test_what_a_step_keeps_is_near_what_is_counted(name, dims):
    spec, grid = scaled(name, dims)
    sample = bytes_kept(spec, grid, 3) - bytes_kept(spec, grid, 2)
    assert KEPT[name] * 4 * feature_values(spec, grid) == pytest.approx(sample, rel=0.25)


def test_every_network_is_scaled_and_measured():
    assert tuple(SCALED) == names() == tuple(PAPERS) == tuple(KEPT)
