"""Attention-Gated-Networks' names, with and without gates."""

import pytest
import torch
from forwards import attention_gates as forward
from maps import (
    assert_no_module_can_be_left_out,
    assert_one_to_one,
    assert_swapped_weights_compute_otherwise,
)
from published import attention_gates, random_state

from medseg.weights.attention_gates import attention_names, attention_spec

IMAGE = torch.randn(1, 1, 16, 32, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gated", [True, False])
def test_names_are_one_to_one_and_outputs_agree(gated, converted):
    state = random_state(attention_gates(gated=gated))
    spec = attention_spec(state)
    assert (spec.is_gated, spec.features, spec.classes) == (gated, (2, 4, 6, 8, 10), 3)
    assert_one_to_one(state, spec, attention_names(spec, state))
    assert_no_module_can_be_left_out(spec, attention_names(spec, state))
    done, network = converted(state, "attention_unet")
    assert (network(IMAGE) - forward(state, IMAGE)).abs().max() < 1e-4
    assert not done.homeless


def test_both_gates_of_a_skip_are_told_apart():
    state = random_state(attention_gates())
    names = [f"attentionblock3.gate_block_{n}.theta.weight" for n in (1, 2)]
    assert_swapped_weights_compute_otherwise(state, *names, lambda s: forward(s, IMAGE))


def test_axes_can_be_turned(converted):
    state = random_state(attention_gates())
    _, network = converted(state, "attention_unet", axes="zyx")
    turned = network(IMAGE.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    assert (turned - forward(state, IMAGE)).abs().max() < 1e-4


def test_counters_that_old_checkpoints_lack_are_no_loss(converted):
    state = random_state(attention_gates())
    old = {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}
    done, _ = converted(old, "attention_unet")
    assert not done.fresh
