import pytest
import torch

from medseg.networks.axial import AxialAttention, AxialBlock


def attention(**changes):
    settings = {
        "width": 8, "heads": 2, "length": 5, "axis": 0, "has_positions": True, "is_gated": False,
    }  # fmt: skip
    return AxialAttention(settings.pop("width"), **(settings | changes))


def by_hand(part, line):
    """Output of one head's attention for a line (width, length), written as the paper sums it."""
    qkv = part.input_norm(part.query_key_value(line[None]))[0].unflatten(0, (part.heads, -1))
    size, length = part.sizes[0], part.length
    out = torch.zeros(part.heads, 2 * size, length)
    for h, head in enumerate(qkv):
        q, k, v = head.split(part.sizes)
        weights = torch.zeros(length, length)
        for i in range(length):
            for j in range(length):
                rq, rk, _ = part.distances[:, i - j + length - 1].split(part.sizes)
                rk = part.distances[:, j - i + length - 1].split(part.sizes)[1]
                weights[i, j] = q[:, i] @ k[:, j] + q[:, i] @ rq + k[:, j] @ rk
        weights = weights.softmax(1)
        for i in range(length):
            for j in range(length):
                rv = part.distances[:, i - j + length - 1].split(part.sizes)[2]
                out[h, :, i] += weights[i, j] * (v[:, j] + rv)
    return out.flatten(0, 1)


def test_every_term_of_the_paper_is_summed():
    part = attention().eval()
    for norm in (part.similarity_norm, part.output_norm):
        norm.eps = 0.0
    line = torch.rand(8, 5)
    image = line[None, :, :, None]
    torch.testing.assert_close(part(image)[0, :, :, 0], by_hand(part, line), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_looks_along_its_axis_only(axis):
    part = attention(axis=axis).eval()
    image = torch.rand(1, 8, 5, 5, 5)
    changed = image.clone()
    changed[:, :, 2, 2, 2] += 1
    moved = (part(changed) - part(image)).abs().sum((0, 1)) > 1e-6
    line = [2, 2, 2]
    line[axis] = slice(None)
    assert moved[tuple(line)].all()
    moved[tuple(line)] = False
    assert not moved.any()


def test_axes_are_treated_alike():
    first, second = attention(axis=0).eval(), attention(axis=1).eval()
    second.load_state_dict(first.state_dict())
    image = torch.rand(1, 8, 5, 5)
    torch.testing.assert_close(first(image).mT, second(image.mT))


def test_gates_start_as_in_the_paper():
    gates = {name: gate.item() for name, gate in attention(is_gated=True).gates.items()}
    assert gates == pytest.approx({"query": 0.1, "key": 0.1, "position_value": 0.1, "value": 1.0})


def test_gates_of_one_change_nothing():
    plain, gated = attention().eval(), attention(is_gated=True).eval()
    gated.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(1, 8, 5, 3)
    assert not torch.allclose(gated(image), plain(image), atol=1e-3)
    for gate in gated.gates.values():
        torch.nn.init.ones_(gate)
    torch.testing.assert_close(gated(image), plain(image))


def test_without_positions_the_order_along_the_axis_does_not_matter():
    image = torch.rand(1, 8, 5, 2)
    blind, seeing = attention(has_positions=False).eval(), attention().eval()
    torch.testing.assert_close(blind(image.flip(2)), blind(image).flip(2))
    assert not torch.allclose(seeing(image.flip(2)), seeing(image).flip(2), atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_doubles_its_width_and_divides_the_grid(stride):
    block = AxialBlock(
        6, 8, heads=2, grid=(4, 6), stride=stride, has_positions=True, is_gated=True,
        has_unused=False,
    )  # fmt: skip
    assert block(torch.rand(2, 6, 4, 6)).shape == (2, 16, 4 // stride, 6 // stride)
