from typing import Literal

import pytest
import torch
from torch import nn

from medseg.dataset.scaling import SCALED
from medseg.dataset.topology import topology
from medseg.networks import Network, build, names
from medseg.training.muon import Muon, orthogonalised


def test_orthogonalised_has_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((6, 40), (40, 6), (16, 16)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.3
        assert values.max() < 1.3


def test_orthogonalised_ignores_the_scale() -> None:
    matrix = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        orthogonalised(matrix), orthogonalised(1000 * matrix), atol=1e-4, rtol=1e-3
    )


def test_it_equals_newton_and_schulz_step_by_step() -> None:
    matrix = torch.randn(8, 50, generator=torch.Generator().manual_seed(2))
    expected = matrix / matrix.norm()
    for _ in range(5):
        gram = expected @ expected.T
        expected = 3.4445 * expected + (-4.775 * gram + 2.0315 * gram @ gram) @ expected
    torch.testing.assert_close(orthogonalised(matrix), expected, atol=1e-4, rtol=1e-3)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv3d(8, 2, 1),
    )  # fmt: skip


def test_only_hidden_convolutions_are_orthogonalised() -> None:
    network = small_network()
    outer = (network[0], network[-1])
    hidden, others = Muon(network, outer=outer, lr=1e-3, hidden_lr=0.02).param_groups
    assert [tuple(weight.shape) for weight in hidden["params"]] == [(8, 8, 3, 3, 3)]
    assert len(others["params"]) == 5
    assert hidden["rate_factor"] == 20


CHANNELS, CLASSES = 5, 7
"""No width of a network is one of these: an axis of a weight tells what it reads and gives."""


def grouped(name: str, dims: Literal[2, 3]) -> tuple[set[str], set[str], Network]:
    """Names of the weights that are orthogonalised, and of the others."""
    shape = topology((1.0,) * dims, (64, 64, 32)[:dims])
    spec = SCALED[name](shape, base=16, in_channels=CHANNELS, classes=CLASSES)
    with torch.device("meta"):
        network = build(spec)
    groups = Muon(
        network, outer=(*network.stems, network.head), lr=1e-3, hidden_lr=0.02
    ).param_groups
    hidden, others = (
        {n for n, p in network.named_parameters() if any(p is q for q in group["params"])}
        for group in groups
    )
    return hidden, others, network


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", names())
def test_what_sees_the_image_or_gives_logits_is_never_orthogonalised(
    name: str, dims: Literal[2, 3]
) -> None:
    hidden, others, network = grouped(name, dims)
    weights = dict(network.named_parameters())
    assert hidden | others == set(weights)
    assert not hidden & others
    reading = {n for n, w in weights.items() if w.ndim >= 4 and w.shape[1] == CHANNELS}
    giving = {n for n, w in weights.items() if w.ndim >= 4 and w.shape[0] == CLASSES}
    assert reading
    assert giving
    assert not hidden & (reading | giving)
    stems = [w for layer in network.stems for w in layer.parameters()]
    assert any(w.ndim >= 4 and w.shape[1] == CHANNELS for w in stems)
    mixing = {n for n, w in weights.items()
              if w.ndim >= 4 and w.shape[1] > 1 and max(w.shape[2:]) > 1}  # fmt: skip
    assert hidden == mixing - reading - giving


def test_it_learns() -> None:
    network = small_network()
    optimizer = Muon(network, outer=(network[0],), lr=1e-2, hidden_lr=0.02)
    image = torch.randn(2, 1, 6, 6, 6)
    target = (image[:, 0] > 0).long()
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
