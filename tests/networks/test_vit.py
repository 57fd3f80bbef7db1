import pytest
import torch

from medseg.networks.vit import Attention, VisionTransformer


def transformer(token_grid=(4, 6), **changes):
    settings = {
        "in_channels": 3, "token_grid": token_grid, "width": 8, "mlp_width": 16, "heads": 2,
        "layers": 2, "dropout": 0.0,
    }  # fmt: skip
    network = VisionTransformer(**(settings | changes))
    torch.nn.init.normal_(network.positions)
    return network


def test_attention_is_that_of_torch():
    ours, theirs = Attention(8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    layers = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        theirs.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    tokens = torch.rand(2, 5, 8)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


@pytest.mark.parametrize("grid", [(4, 6), (8, 3), (2, 3, 4)])
def test_tokens_lie_on_the_grid_of_the_features(grid):
    network = transformer(grid)
    assert network(torch.rand(2, 3, *grid)).shape == (2, 8, *grid)


def test_positions_tell_equal_features_apart():
    out = transformer()(torch.ones(1, 3, 4, 6))
    assert out.flatten(2).std(-1).mean() > 0.01


def test_positions_are_used_as_they_are_on_their_own_grid():
    network = transformer()
    assert network.positions_on((4, 6)) is network.positions


def test_positions_are_interpolated_on_other_grids():
    network = transformer((3, 3))
    own = network.positions.unflatten(1, (3, 3))
    finer = network.positions_on((5, 5)).unflatten(1, (5, 5))
    torch.testing.assert_close(finer[:, ::2, ::2], own)
    torch.testing.assert_close(finer[:, 1, 0], (own[:, 0, 0] + own[:, 1, 0]) / 2)
    assert network(torch.rand(1, 3, 7, 2)).shape == (1, 8, 7, 2)


def test_without_positions_the_order_of_tokens_would_not_matter():
    network, features = transformer(), torch.rand(1, 3, 4, 6)
    flipped = network(features.flip(2)).flip(2)
    assert not torch.allclose(network(features), flipped, atol=1e-3)
    torch.nn.init.zeros_(network.positions)
    torch.testing.assert_close(network(features), network(features.flip(2)).flip(2))


def test_dropout_acts_in_training_only():
    network, features = transformer(dropout=0.5), torch.rand(1, 3, 4, 6)
    assert not torch.equal(network(features), network(features))
    network.eval()
    assert torch.equal(network(features), network(features))
