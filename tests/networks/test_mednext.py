import pytest
import torch
from contract import Contract
from counting import gmacs, parameters
from torch import nn

from medseg.errors import BundleError
from medseg.networks.mednext import MedNeXt, upkern
from medseg.specs.mednext import MedNeXtSpec


def small(dims=2, **changes):
    settings = {
        "dims": dims, "in_channels": 1, "classes": 3, "width": 4, "strides": ((2,) * dims,) * 2,
        "blocks": (1, 2, 1, 1, 2), "expansions": (2, 3, 2, 2, 3),
    }  # fmt: skip
    return MedNeXtSpec(**(settings | changes))


class TestContract(Contract):
    spec = staticmethod(small)
    refused = ((4, 4), r"multiples of \(4, 4\), at least one axis twice")


@pytest.mark.parametrize(
    ("size", "count", "giga"),
    [("S", 5_551_311, 128), ("B", 10_526_703, 167), ("M", 17_549_359, 244), ("L", 61_779_663, 495)],
)
def test_parameters_and_multiplications_of_the_paper(size, count, giga):
    with torch.device("meta"):
        network = MedNeXt(MedNeXtSpec.paper(size))
    assert parameters(network) == count
    assert gmacs(network, 1, (128, 128, 128)) == pytest.approx(giga, rel=0.01)


def test_the_small_one_is_the_class_of_monai():
    from monai.networks.nets.mednext import MedNeXt as MonaiMedNeXt

    spec = small(3, blocks=(1, 2, 2, 1, 1), expansions=(2,) * 5)
    theirs = MonaiMedNeXt(
        init_filters=4, out_channels=3, kernel_size=3, deep_supervision=True,
        use_residual_connection=True, blocks_down=(1, 2), blocks_bottleneck=2, blocks_up=(1, 1),
    )  # fmt: skip
    ours = MedNeXt(spec)
    ours.load_state_dict(_renamed(theirs.state_dict(), ours.state_dict()))
    image = torch.rand(1, 1, 8, 12, 8)
    for mine, other in zip(ours(image), theirs(image), strict=True):
        torch.testing.assert_close(mine, other)
    torch.testing.assert_close(ours.eval()(image), theirs.eval()(image))


def _renamed(state, ours):
    """MONAI's tensors under our names; 1x1 heads are transposed convolutions there."""
    words = {"enc_stages": "encoder", "down_blocks": "downs", "up_blocks": "ups",
             "dec_stages": "decoder", "conv1": "depthwise", "conv2": "widen", "conv3": "narrow",
             "res_conv": "shortcut", "conv_out.": "", "out_0": "heads.0"}  # fmt: skip
    heads = sum(name.startswith("out_blocks") for name in state) // 2
    named = {}
    for name, tensor in state.items():
        new = name
        for old, word in words.items():
            new = new.replace(old, word)
        if new.startswith("out_blocks"):
            _, index, rest = new.split(".")
            new = f"heads.{heads - int(index)}.{rest}"
        fits = new.startswith("heads") and new.endswith("weight")
        named[new] = tensor.transpose(0, 1) if fits else tensor
    assert set(named) == set(ours)
    return named


def test_each_channel_is_normalised_by_itself():
    norms = [m for m in MedNeXt(small()).modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 7 + 4
    assert all(norm.num_groups == norm.num_channels for norm in norms)


def test_down_blocks_are_as_wide_as_the_stage_they_lead_to():
    network = MedNeXt(small(expansions=(2, 3, 4, 5, 6)))
    assert [down.widen.out_channels // down.widen.in_channels for down in network.downs] == [3, 4]
    assert [up.widen.out_channels // up.widen.in_channels for up in network.ups] == [5, 6]


def test_deep_supervision_reaches_the_bottleneck():
    logits = MedNeXt(small(3))(torch.rand(2, 1, 8, 8, 8))
    assert [tuple(scale.shape[2:]) for scale in logits] == [(8, 8, 8), (4, 4, 4), (2, 2, 2)]


def test_strides_may_differ_between_axes():
    network = MedNeXt(small(3, strides=((2, 2, 1), (2, 2, 2))))
    assert network.spec.divisor == (4, 4, 2)
    assert [tuple(scale.shape[2:]) for scale in network(torch.rand(1, 1, 8, 8, 6))] == [
        (8, 8, 6), (4, 4, 6), (2, 2, 3)
    ]  # fmt: skip


def test_a_zero_is_put_before_the_first_voxel_of_each_doubled_axis():
    up = MedNeXt(small(3, strides=((2, 2, 1), (2, 2, 2)))).ups[1]
    out = up(torch.rand(1, 8, 3, 3, 3))
    assert out.shape[2:] == (6, 6, 3)
    assert not out[:, :, 0].any()
    assert not out[:, :, :, 0].any()
    assert out[:, :, 1:, 1:].all()


@pytest.mark.parametrize("dims", [2, 3])
def test_upkern_interpolates_kernels_and_keeps_the_rest(dims):
    three, five = MedNeXt(small(dims)), MedNeXt(small(dims, kernel=5))
    upkern(five, three.state_dict())
    before, after = three.state_dict(), five.state_dict()
    grown = [name for name in before if before[name].shape != after[name].shape]
    assert len(grown) == 7 + 4, "the depthwise kernel of each block"
    assert all(name.endswith("depthwise.weight") for name in grown)
    assert all(torch.equal(before[name], after[name]) for name in before if name not in grown)
    mode = "bilinear" if dims == 2 else "trilinear"
    for name in grown:
        expected = nn.functional.interpolate(before[name], size=(5,) * dims, mode=mode)
        torch.testing.assert_close(after[name], expected)


def test_upkern_of_a_constant_kernel_is_constant():
    three, five = MedNeXt(small()), MedNeXt(small(kernel=5))
    state = {name: torch.full_like(tensor, 0.3) for name, tensor in three.state_dict().items()}
    upkern(five, state)
    assert all(torch.allclose(tensor, torch.tensor(0.3)) for tensor in five.state_dict().values())


@pytest.mark.parametrize("changes", [{"width": 8}, {"classes": 2}, {"blocks": (2, 2, 1, 1, 2)}])
def test_upkern_refuses_another_network(changes):
    with pytest.raises(BundleError, match="differs in nothing but the kernel"):
        upkern(MedNeXt(small(kernel=5)), MedNeXt(small(**changes)).state_dict())
