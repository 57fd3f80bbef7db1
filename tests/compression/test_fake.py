"""Convolutions between grids."""

import copy

import pytest
import torch
from torch import nn

from medseg.compression.fake import FakeQuantised, LayerGrids, convolutions, fake_quantise
from medseg.compression.grids import Grid, on_weight_grid

FINE = LayerGrids(Grid(1e-5, 0, -(2**30), 2**30))
COARSE = LayerGrids(Grid(0.5, 0, -128, 127))

LAYERS = [
    nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
    nn.Conv3d(4, 6, (3, 1, 3), padding=(1, 0, 1), bias=False),
    nn.ConvTranspose2d(4, 6, 2, stride=2),
    nn.ConvTranspose3d(
        4, 6, (1, 2, 3), stride=(1, 2, 2), padding=(0, 0, 1), output_padding=(0, 1, 1)
    ),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_on_a_fine_grid_only_the_weights_are_rounded(layer):
    axis = 1 if "Transpose" in type(layer).__name__ else 0
    image = torch.randn(2, 4, *(6,) * (layer.weight.ndim - 2))
    rounded = copy.deepcopy(layer)
    with torch.no_grad():
        rounded.weight.copy_(on_weight_grid(layer.weight, axis))
        torch.testing.assert_close(
            FakeQuantised(layer, FINE)(image), rounded(image), atol=1e-3, rtol=1e-3
        )


def test_what_a_layer_gives_can_be_on_a_grid_too():
    out = FakeQuantised(LAYERS[0], LayerGrids(FINE.given, Grid(0.5, 0, 0, 255)))(
        torch.randn(1, 4, 6, 6)
    )
    assert set((out * 2).unique().tolist()) <= set(range(256))


def test_weights_keep_their_names_and_are_shared(network):
    changed = copy.deepcopy(network)
    names = list(convolutions(changed))
    fake_quantise(changed, dict.fromkeys(names, COARSE))
    assert list(changed.state_dict()) == list(network.state_dict())
    assert convolutions(changed) == {}
    changed.load_state_dict(network.state_dict())


def test_gradients_reach_every_weight(network):
    changed = copy.deepcopy(network).train()
    fake_quantise(
        changed, dict.fromkeys(convolutions(changed), LayerGrids(Grid(0.05, 0, -128, 127)))
    )
    outputs = changed(torch.randn(1, 1, 16, 16, 8))
    sum(out.square().mean() for out in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in changed.parameters())


def test_shared_weights_and_other_padding_are_left_alone():
    one, other = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    other.weight = one.weight
    reflecting = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
    free = nn.Conv2d(2, 2, 1)
    assert list(convolutions(nn.Sequential(one, other, reflecting, free))) == ["3"]
