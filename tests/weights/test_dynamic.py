"""Names of dynamic-network-architectures, with plain and residual encoders."""

import pytest
import torch
from forwards import nnunet as forward
from maps import (
    assert_no_module_can_be_left_out,
    assert_one_to_one,
    assert_swapped_weights_compute_otherwise,
)
from published import KERNELS, STRIDES, WIDTHS, nnunet, random_state

from medseg.weights.dynamic import plain_names, plain_spec, resenc_names, resenc_spec

FAMILIES = {"plain_unet": (plain_spec, plain_names), "resenc_unet": (resenc_spec, resenc_names)}


def case(arch: str, dims: int):
    x = torch.randn(1, 2, *(4, 8, 12)[-dims:], generator=torch.Generator().manual_seed(1))
    return random_state(nnunet(residual=arch == "resenc_unet", dims=dims)), x


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_names_are_one_to_one_and_outputs_agree(arch, dims, converted):
    state, x = case(arch, dims)
    spec_of, names_of = FAMILIES[arch]
    spec = spec_of(state)
    assert spec.features == WIDTHS
    assert spec.kernels == tuple(kernel[-dims:] for kernel in KERNELS)
    assert spec.strides[1:] == tuple(stride[-dims:] for stride in STRIDES)
    assert_one_to_one(state, spec, names_of(spec, state))
    assert_no_module_can_be_left_out(spec, names_of(spec, state))
    done, network = converted(state, arch)
    assert (network(x) - forward(state, x)).abs().max() < 1e-4
    assert not done.homeless
    assert len(done.dead) > len(done.bundle.members[0]), "all blocks twice, the encoder four times"


@pytest.mark.parametrize("arch", FAMILIES)
def test_axes_can_be_turned(arch, converted):
    state, x = case(arch, 3)
    done, network = converted(state, arch, axes="zyx")
    assert done.bundle.plan.network.strides[1] == (2, 2, 1)
    turned = network(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    assert (turned - forward(state, x)).abs().max() < 1e-4


def test_a_swap_is_seen():
    state, x = case("resenc_unet", 3)
    names = [f"encoder.stages.1.blocks.{n}.conv2.norm.weight" for n in (0, 1)]
    assert_swapped_weights_compute_otherwise(state, *names, lambda s: forward(s, x))


@pytest.mark.parametrize("arch", FAMILIES)
def test_the_package_computes_the_same(arch, converted):
    """Where it is installed; it is no dependency."""
    reason = "dynamic-network-architectures is not installed"
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason=reason)
    from torch import nn

    blocks = {"n_conv_per_stage": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2]}
    if arch == "resenc_unet":
        blocks = {"n_blocks_per_stage": [1, 2, 2], "n_conv_per_stage_decoder": [1, 1]}
    theirs = (unet.PlainConvUNet if arch == "plain_unet" else unet.ResidualEncoderUNet)(
        input_channels=2,
        n_stages=3,
        features_per_stage=list(WIDTHS),
        conv_op=nn.Conv3d,
        kernel_sizes=list(KERNELS),
        strides=[(1, 1, 1), *STRIDES],
        num_classes=3,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
        **blocks,
    ).eval()
    _, network = converted(theirs.state_dict(), arch)
    _, x = case(arch, 3)
    ours, others = network.train()(x), theirs.train()(x)
    assert all((a - b).abs().max() < 1e-4 for a, b in zip(ours, others, strict=True))
