import torch
from torch import nn

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
    hidden, others = Muon(network, lr=1e-3, hidden_lr=0.02).param_groups
    assert [tuple(weight.shape) for weight in hidden["params"]] == [(8, 8, 3, 3, 3)]
    assert len(others["params"]) == 5
    assert hidden["rate_factor"] == 20


def test_it_learns() -> None:
    network = small_network()
    optimizer = Muon(network, lr=1e-2, hidden_lr=0.02)
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
