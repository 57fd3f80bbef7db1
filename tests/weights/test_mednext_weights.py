"""MedNeXt's names, the authors' and MONAI's."""

import pytest
import torch
from forwards import mednext as forward
from maps import (
    assert_no_module_can_be_left_out,
    assert_one_to_one,
    assert_swapped_weights_compute_otherwise,
)
from published import mednext, random_state

from medseg.errors import WrongCheckpoint
from medseg.weights.mednext import mednext_names, mednext_spec, monai_names, monai_spec


@pytest.mark.parametrize(
    ("dims", "supervised", "kernel"), [(3, True, 3), (3, False, 5), (2, True, 3)]
)
def test_names_are_one_to_one_and_outputs_agree(dims, supervised, kernel, converted):
    state = random_state(mednext(dims=dims, supervised=supervised, kernel=kernel))
    spec = mednext_spec(state)
    assert spec.blocks == (1, 2, 1, 1, 2, 1, 1, 1, 2)
    assert spec.expansions == (2, 3, 4, 4, 4, 4, 3, 2, 2)
    assert (spec.kernel, spec.deep_supervision) == (kernel, supervised)
    assert_one_to_one(state, spec, mednext_names(spec, state))
    assert_no_module_can_be_left_out(spec, mednext_names(spec, state))
    done, network = converted(state, "mednext")
    image = torch.randn(1, 1, 32, *(16,) * (dims - 1))
    assert (network(image) - forward(state, image)).abs().max() < 1e-4
    assert done.dead == ("dummy_tensor",)
    assert not done.homeless


def test_a_swap_is_seen():
    state, image = random_state(mednext()), torch.randn(1, 1, 32, 16, 16)
    names = ("enc_block_1.0.conv1.weight", "enc_block_1.1.conv1.weight")
    assert_swapped_weights_compute_otherwise(state, *names, lambda s: forward(s, image))


def monai_network(*, supervised: bool, ratios: tuple[int, int] = (2, 2)):
    from monai.networks.nets import mednext as theirs

    return theirs.MedNeXt(
        spatial_dims=3,
        init_filters=4,
        in_channels=1,
        out_channels=3,
        encoder_expansion_ratio=ratios,
        decoder_expansion_ratio=ratios,
        blocks_down=(1, 2),
        blocks_bottleneck=1,
        blocks_up=(2, 1),
        kernel_size=3,
        deep_supervision=supervised,
        use_residual_connection=True,
    ).eval()


@pytest.mark.parametrize("supervised", [True, False])
def test_monai_s_class_computes_the_same(supervised, converted):
    theirs = monai_network(supervised=supervised)
    state = theirs.state_dict()
    spec = monai_spec(state)
    assert_one_to_one(state, spec, monai_names(spec, state))
    done, network = converted(state, "mednext")
    image = torch.randn(1, 1, 16, 8, 8)
    assert (network(image) - theirs(image)).abs().max() < 1e-4
    assert done.origin == "MONAI's MedNeXt"
    if supervised:
        ours, others = network.train()(image), theirs.train()(image)
        assert all((a - b).abs().max() < 1e-4 for a, b in zip(ours, others, strict=True))


def test_monai_s_wider_sizes_are_another_network(converted):
    with pytest.raises(WrongCheckpoint, match="shapes of its published network"):
        converted(monai_network(supervised=False, ratios=(2, 3)).state_dict(), "mednext")
