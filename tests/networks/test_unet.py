import pytest
import torch

from medseg.errors import WrongInput
from medseg.networks import build
from medseg.networks.blocks import ConvNormAct
from medseg.specs import PlainUNetSpec


def spec(dims=3, **changes):
    settings = {
        "dims": dims,
        "in_channels": 1,
        "classes": 3,
        "features": (4, 6, 8),
        "kernels": ((3,) * dims,) * 3,
        "strides": ((1,) * dims, (2,) * dims, (2,) * dims),
        "encoder_convs": (2, 2, 2),
        "decoder_convs": (2, 2),
    }
    return PlainUNetSpec(**(settings | changes))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("classes", [2, 3, 106])
def test_training_gives_every_resolution_and_prediction_the_finest(dims, channels, classes):
    network = build(spec(dims, in_channels=channels, classes=classes))
    image = torch.rand(2, channels, *(8,) * dims)
    grids = [tuple(logits.shape) for logits in network(image)]
    assert grids == [(2, classes, *(8,) * dims), (2, classes, *(4,) * dims)]
    assert network.eval()(image).shape == (2, classes, *(8,) * dims)


def test_without_deep_supervision_there_is_one_head():
    network = build(spec(deep_supervision=False))
    assert len(network.heads) == 1
    assert network(torch.rand(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_prediction_does_not_compute_coarse_heads():
    network = build(spec()).eval()
    network.heads[1].register_forward_hook(lambda *_: pytest.fail("a coarse head was computed"))
    network(torch.rand(1, 1, 8, 8, 8))


def test_training_and_prediction_agree_on_the_finest():
    network, image = build(spec()), torch.rand(2, 1, 8, 8, 8)
    torch.testing.assert_close(network(image)[0], network.eval()(image))


def test_every_sample_of_a_batch_counts_alone():
    network, image = build(spec()).eval(), torch.rand(3, 1, 8, 8, 8)
    alone = torch.cat([network(sample[None]) for sample in image])
    torch.testing.assert_close(network(image), alone, atol=1e-5, rtol=1e-4)


def test_every_block_is_as_published():
    blocks = [m for m in build(spec()).modules() if isinstance(m, ConvNormAct)]
    assert len(blocks) == 10
    assert all(m.conv.bias is not None for m in blocks)
    assert all(m.norm.affine and m.norm.eps == 1e-5 for m in blocks)
    assert all(not m.norm.track_running_stats and m.act.negative_slope == 0.01 for m in blocks)


def test_anisotropic_stages():
    strides = ((1, 1, 1), (2, 2, 1), (2, 2, 2))
    network = build(spec(strides=strides, kernels=((3, 3, 1), (3, 3, 1), (3, 3, 3))))
    assert network.divisor == (4, 4, 2)
    fine, coarse = network(torch.rand(1, 1, 8, 12, 6))
    assert fine.shape[2:] == (8, 12, 6)
    assert coarse.shape[2:] == (4, 6, 6)


def test_the_gradient_reaches_every_parameter():
    network = build(spec())
    sum(logits.square().sum() for logits in network(torch.rand(1, 1, 8, 8, 8))).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build(spec()).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("grid", [(7, 8, 8), (8, 8, 10), (4, 4, 4)])
def test_a_grid_that_does_not_fit_is_refused(grid):
    with pytest.raises(WrongInput, match=r"multiples of \(4, 4, 4\), at least one axis twice"):
        build(spec())(torch.rand(1, 1, *grid))


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 8), (1, 1, 8, 8)])
def test_wrong_channels_or_axes_are_refused(shape):
    with pytest.raises(WrongInput, match=r"1 channels, 3 spatial axes"):
        build(spec())(torch.rand(shape))


@pytest.mark.parametrize("dims", [2, 3])
def test_autocast_gives_finite_logits(dims):
    network = build(spec(dims))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(2, 1, *(16,) * dims))
    assert all(scale.isfinite().all() for scale in logits)


@pytest.mark.parametrize("dims", [2, 3])
def test_it_can_be_exported_for_any_batch(dims):
    network, image = build(spec(dims)).eval(), torch.rand(2, 1, *(8,) * dims)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (image,), dynamic_shapes=({0: batch},))
    other = torch.rand(5, 1, *(8,) * dims)
    torch.testing.assert_close(program.module()(other), network(other))


def test_it_survives_safetensors(tmp_path):
    from safetensors.torch import load_file, save_file

    network, other, image = build(spec()).eval(), build(spec()).eval(), torch.rand(1, 1, 8, 8, 8)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(network(image), other(image))
