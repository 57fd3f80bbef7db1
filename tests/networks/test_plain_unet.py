import pytest
import torch
from contract import Contract

from medseg.errors import WrongInput
from medseg.networks import build
from medseg.networks.blocks import ConvNormAct
from medseg.specs import PlainUNetSpec


def small(dims=3, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 3, "features": (4, 6, 8),
        "kernels": ((3,) * dims,) * 3, "strides": ((1,) * dims, (2,) * dims, (2,) * dims),
        "encoder_convs": (2, 2, 2), "decoder_convs": (2, 2),
    }  # fmt: skip
    return PlainUNetSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((7, 8, 8), r"multiples of \(4, 4, 4\), at least one axis twice")


def test_without_deep_supervision_there_is_one_head():
    network = build(small(deep_supervision=False))
    assert len(network.heads) == 1
    assert network(torch.rand(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_every_decoder_stage_gives_logits_in_training():
    scales = build(small())(torch.rand(2, 1, 8, 8, 8))
    assert [tuple(logits.shape) for logits in scales] == [(2, 3, 8, 8, 8), (2, 3, 4, 4, 4)]


def test_prediction_does_not_compute_coarse_heads():
    network = build(small()).eval()
    network.heads[1].register_forward_hook(lambda *_: pytest.fail("a coarse head was computed"))
    network(torch.rand(1, 1, 8, 8, 8))


def test_training_and_prediction_agree_on_the_finest():
    network, image = build(small()), torch.rand(2, 1, 8, 8, 8)
    torch.testing.assert_close(network(image)[0], network.eval()(image))


def test_every_block_is_as_published():
    blocks = [m for m in build(small()).modules() if isinstance(m, ConvNormAct)]
    assert len(blocks) == 10
    assert all(m.conv.bias is not None for m in blocks)
    assert all(m.norm.affine and m.norm.eps == 1e-5 for m in blocks)
    assert all(not m.norm.track_running_stats and m.act.negative_slope == 0.01 for m in blocks)


def test_anisotropic_stages():
    strides = ((1, 1, 1), (2, 2, 1), (2, 2, 2))
    network = build(small(strides=strides, kernels=((3, 3, 1), (3, 3, 1), (3, 3, 3))))
    assert network.divisor == (4, 4, 2)
    fine, coarse = network(torch.rand(1, 1, 8, 12, 6))
    assert fine.shape[2:] == (8, 12, 6)
    assert coarse.shape[2:] == (4, 6, 6)


@pytest.mark.parametrize("grid", [(8, 8, 10), (4, 4, 4)])
def test_one_voxel_at_the_coarsest_stage_is_refused(grid):
    with pytest.raises(WrongInput, match="at least one axis twice"):
        build(small())(torch.rand(1, 1, *grid))
