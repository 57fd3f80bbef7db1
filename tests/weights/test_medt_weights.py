"""The Medical Transformer's names: four networks, told apart by what they hold."""

import pytest
import torch
from forwards import medt as forward
from maps import (
    assert_no_module_can_be_left_out,
    assert_one_to_one,
    assert_swapped_weights_compute_otherwise,
)
from published import medt, random_state

from medseg.errors import WrongCheckpoint
from medseg.weights.medt import medt_kind, medt_names, medt_spec

KINDS = ("medt", "medt_gated", "medt_axial", "medt_logo")
SIZE = {"medt": 128, "medt_gated": 64, "medt_axial": 64, "medt_logo": 128}


def case(kind):
    """Tensors, and an image; the published local branch is cut for 128 pixels."""
    image = torch.randn(1, 3, *(SIZE[kind],) * 2, generator=torch.Generator().manual_seed(1))
    return random_state(medt(kind, image=SIZE[kind], classes=3)), image


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_one_to_one(kind):
    state, _ = case(kind)
    spec = medt_spec(state)
    assert medt_kind(state) == spec.kind == kind
    assert_one_to_one(state, spec, medt_names(spec, state))
    assert_no_module_can_be_left_out(spec, medt_names(spec, state))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_agree(kind, converted):
    state, image = case(kind)
    done, network = converted(state, kind)
    assert (network(image) - forward(state, image)).abs().max() < 1e-4
    assert not done.homeless
    assert not done.fresh


def test_rows_come_before_columns():
    state, image = case("medt_gated")
    names = [f"layer1.0.{axis}_block.relative" for axis in ("hight", "width")]
    assert_swapped_weights_compute_otherwise(state, *names, lambda s: forward(s, image))


def test_shapes_tell_the_network():
    spec = medt_spec(case("medt")[0])
    assert (spec.grid, spec.width, spec.heads, spec.stem_width) == ((128, 128), 8, 8, 12)
    assert (spec.blocks, spec.classes) == ((1, 2, 1, 1), 3)


def test_another_ablation_is_named(converted):
    with pytest.raises(WrongCheckpoint, match=r"weights of medt_logo .* Say --arch medt_logo"):
        converted(case("medt_logo")[0], "medt")


def test_what_the_published_code_never_uses_is_dead(converted):
    done, _ = converted(case("medt")[0], "medt")
    assert "adjust_p.weight" in done.dead
    assert "layer1_p.0.conv1.weight" in done.dead
    assert not done.bundle.plan.network.unused_parameters
