"""TransUNet's names, and Google's archives."""

import numpy as np
import pytest
import torch
from forwards import transunet as forward
from maps import (
    assert_no_module_can_be_left_out,
    assert_one_to_one,
    assert_swapped_weights_compute_otherwise,
)
from published import google, random_state, transunet

from medseg.bundle import build_member
from medseg.errors import WrongCheckpoint
from medseg.networks import build, paper_spec
from medseg.weights import convert
from medseg.weights.surroundings import Wishes
from medseg.weights.transunet import (
    google_names,
    google_spec,
    positions_on,
    transunet_names,
    transunet_spec,
)

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def computed(state):
    return forward(state, IMAGE, groups=2, heads=1)


def test_names_are_one_to_one():
    state = random_state(transunet())
    spec = transunet_spec(state)
    assert_one_to_one(state, spec, transunet_names(spec, state))
    assert_no_module_can_be_left_out(spec, transunet_names(spec, state))


def test_outputs_agree(converted):
    state = random_state(transunet())
    done, network = converted(state, "transunet")
    assert (network(IMAGE) - computed(state)).abs().max() < 1e-4
    assert not done.homeless
    assert not done.fresh
    layer = "transformer.encoder.layer.0.attn"
    names = (f"{layer}.query.weight", f"{layer}.value.weight")
    assert_swapped_weights_compute_otherwise(state, *names, computed)


def test_shapes_tell_the_network():
    spec = transunet_spec(random_state(transunet(classes=5)))
    assert (spec.classes, spec.units, spec.layers, spec.grid) == (5, (1, 2, 1), 2, (32, 32))
    assert spec.decoder_widths == (8, 6, 4, 2)


def test_the_paper_s_setting_is_told_from_its_shapes():
    spec = paper_spec("transunet")
    with torch.device("meta"):
        ours = build(spec).state_dict()
    names = transunet_names(spec, {}).names(ours)
    assert transunet_spec({theirs: ours[name] for name, theirs in names.items()}) == spec


def test_images_are_rows_and_columns(converted):
    done, _ = converted(random_state(transunet()), "transunet")
    assert done.bundle.plan.orientation == "PLS", "rows run to the back, columns to the left"
    assert [channel.modality for channel in done.bundle.plan.channels] == ["RGB"] * 3


def test_positions_are_interpolated_with_the_corners_kept():
    positions = torch.arange(9.0).reshape(1, 9, 1)
    larger = positions_on(positions, token_grid=(5, 5), origin="x").reshape(5, 5)
    assert larger[0].tolist() == [0, 0.5, 1, 1.5, 2]
    assert larger[:, 0].tolist() == [0, 1.5, 3, 4.5, 6]
    assert positions_on(positions, token_grid=(3, 3), origin="x") is positions
    with pytest.raises(WrongCheckpoint, match="lie on a square of tokens"):
        positions_on(torch.zeros(1, 6, 1), token_grid=(5, 5), origin="x")


def archive(path, state):
    np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    return path


def test_an_archive_s_names_are_one_to_one():
    state = random_state(google())
    spec = google_spec(state)
    assert_one_to_one(state, spec, google_names(spec, state))


def test_an_archive_computes_what_its_layouts_say(tmp_path):
    """Each kernel is compared with the operation that JAX does with it."""
    state = random_state(google())
    done = convert([archive(tmp_path / "a.npz", state)], "transunet", allow_missing=True)
    network = build_member(done.bundle)
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    stem = torch.zeros(4)
    for row in range(6):
        for column in range(6):
            kernel = state["conv_root/kernel"][row, column]
            stem += x[0, :, row, column] @ kernel
    ours = torch.einsum("oihw,ihw->o", network.resnet.stem.weight[..., :6, :6], x[0])
    assert torch.allclose(ours, stem, atol=1e-5)
    tokens = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    layer, there = network.transformer.layers[1], "Transformer/encoderblock_1"
    part = f"{there}/MultiHeadDotProductAttention_1/query"
    query = torch.einsum("tc,chd->thd", tokens, state[f"{part}/kernel"]) + state[f"{part}/bias"]
    assert torch.allclose(layer.attention.query(tokens), query.flatten(1), atol=1e-5)
    part = f"{there}/MultiHeadDotProductAttention_1/out"
    mixed = torch.einsum("thd,hdc->tc", query, state[f"{part}/kernel"]) + state[f"{part}/bias"]
    assert torch.allclose(layer.attention.out(query.flatten(1)), mixed, atol=1e-5)
    dense = f"{there}/MlpBlock_3/Dense_0"
    inside = tokens @ state[f"{dense}/kernel"] + state[f"{dense}/bias"]
    assert torch.allclose(layer.widen(tokens), inside, atol=1e-5)
    positions = state["Transformer/posembed_input/pos_embedding"][:, 1:]
    assert torch.equal(network.transformer.positions, positions), "without the class token"


def test_an_archive_is_an_encoder_and_that_is_said(tmp_path):
    path = archive(tmp_path / "a.npz", random_state(google()))
    with pytest.raises(WrongCheckpoint, match=r"an encoder only; .* such as bridge\.0\.weight"):
        convert([path], "transunet")
    done = convert([path], "transunet", Wishes(labels=("a", "b", "c")), allow_missing=True)
    assert done.bundle.plan.network.classes == 4
    assert {name.split(".")[0] for name in done.fresh} == {"bridge", "decoder", "segmentation"}
    assert set(done.dead) == {"head/kernel", "head/bias", "cls"}
