import pytest
import torch

from medseg.errors import BundleError
from medseg.networks import build
from medseg.networks.start import Start, fresh_tensors
from medseg.specs import AttentionUNetSpec, PlainUNetSpec
from medseg.specs.mednext import MedNeXtSpec


def plain(**changes):
    settings = {
        "dims": 2, "in_channels": 1, "classes": 3, "features": (4, 6, 8), "kernels": ((3, 3),) * 3,
        "strides": ((1, 1), (2, 2), (2, 2)), "encoder_convs": (1, 1, 1), "decoder_convs": (1, 1),
    }  # fmt: skip
    return PlainUNetSpec(**(settings | changes))


def mednext(**changes):
    settings = {
        "dims": 2, "in_channels": 1, "classes": 3, "width": 4, "strides": ((2, 2),) * 2,
        "blocks": (1,) * 5, "expansions": (2,) * 5,
    }  # fmt: skip
    return MedNeXtSpec(**(settings | changes))


def attention(**changes):
    settings = {
        "dims": 2, "in_channels": 1, "classes": 3, "features": (4, 6, 8),
        "strides": ((1, 1), (2, 2), (2, 2)),
    }  # fmt: skip
    return AttentionUNetSpec(**(settings | changes))


def start_of(spec):
    return Start(spec, build(spec).state_dict())


@pytest.mark.parametrize("spec", [plain(), mednext(), attention()])
def test_a_network_of_the_same_settings_becomes_the_same(spec):
    start, network = start_of(spec), build(spec)
    assert start.fill(network, spec) == ()
    assert all(torch.equal(t, start.weights[name]) for name, t in network.state_dict().items())


@pytest.mark.parametrize("spec", [plain, mednext, attention])
def test_heads_of_another_number_of_classes_are_left_as_they_were_drawn(spec):
    start, other = start_of(spec(classes=3)), spec(classes=5)
    network = build(other)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fresh = start.fill(network, other)
    after = network.state_dict()
    assert fresh
    assert all(torch.equal(after[name], before[name]) for name in fresh)
    taken = set(after) - set(fresh)
    assert all(torch.equal(after[name], start.weights[name]) for name in taken)
    assert all(5 in after[name].shape or 10 in after[name].shape for name in fresh)


def test_heads_of_coarser_scales_may_be_lacking_or_left_over():
    with_scales, without = plain(), plain(deep_supervision=False)
    fresh = start_of(without).fill(build(with_scales), with_scales)
    assert set(fresh) == {"heads.1.weight", "heads.1.bias"}
    assert start_of(with_scales).fill(build(without), without) == ()


@pytest.mark.parametrize("classes", [3, 4])
def test_larger_kernels_grow_whatever_the_classes(classes):
    small, large = start_of(mednext()), mednext(kernel=5, classes=classes)
    network = build(large)
    fresh = small.fill(network, large)
    assert bool(fresh) == (classes != 3)
    name = "encoder.0.0.depthwise.weight"
    grown = torch.nn.functional.interpolate(small.weights[name], size=(5, 5), mode="bilinear")
    torch.testing.assert_close(network.state_dict()[name], grown)
    assert torch.equal(network.stem.weight, small.weights["stem.weight"])


@pytest.mark.parametrize(
    ("spec", "start", "received"),
    [
        (plain(), plain(in_channels=2), r"stem|encoder.*: \(4, 2, 3, 3\) there, \(4, 1, 3, 3\)"),
        (plain(), plain(features=(4, 6, 10)), "tensors that do not fit"),
        (plain(), plain(encoder_convs=(1, 1, 2)), r"there, none here"),
        (mednext(kernel=3), mednext(kernel=5), r"\(4, 1, 5, 5\) there, \(4, 1, 3, 3\) here"),
        (plain(), plain(kernels=((1, 1), (3, 3), (3, 3))), "tensors that do not fit"),
    ],
)  # fmt: skip
def test_what_differs_in_more_than_heads_is_refused(spec, start, received):
    with pytest.raises(BundleError, match=rf"same channels, stages.*({received}).*--plan"):
        fresh_tensors(spec, start)


def test_another_kind_is_refused():
    with pytest.raises(BundleError, match=r"bundle of mednext for.*plain_unet.*--arch mednext"):
        fresh_tensors(plain(), mednext())


def test_looking_at_shapes_draws_nothing():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fresh_tensors(attention(), attention(classes=2))
    assert torch.equal(torch.rand(1), expected)
