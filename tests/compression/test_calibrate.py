"""Grids by what patches show, and layers that must stay float."""

import copy

import numpy as np
import torch

from medseg.compression.calibrate import FIRST, KEPT_BELOW_DB, LAST, calibrated, sensitive
from medseg.compression.fake import convolutions
from medseg.compression.qdq import convolution_nodes, shared_inputs


def test_first_and_last_stay_float_and_the_rest_does_not(network, graph, patches):
    found = calibrated(network, patches, shared_inputs(graph), target="openvino")
    assert found.kept == {"encoder.0.0.conv": FIRST, "heads.0": LAST}
    assert set(found.grids) == set(convolution_nodes(graph)) - set(found.kept)
    assert found.patches == len(patches)


def test_layers_that_share_what_they_are_given_share_a_grid(network, graph, patches):
    found = calibrated(network, patches, shared_inputs(graph), target="openvino")
    assert found.grids["encoder.1.0.conv"].given == found.grids["decoder.0.0.conv"].given


def test_each_runtime_gets_the_integers_that_it_is_fast_with(network, graph, patches):
    groups = shared_inputs(graph)
    grids = {
        target: calibrated(network, patches, groups, target=target, kept={}).grids
        for target in ("openvino", "onnx", "tensorrt")
    }
    assert all(one.given.zero == 0 for one in grids["openvino"].values())
    assert any(not one.given.is_signed for one in grids["openvino"].values())
    assert all(one.given.is_signed and one.given.zero == 0 for one in grids["tensorrt"].values())
    assert all(one.gives is None for one in grids["tensorrt"].values())
    ups = {"ups.0"}
    assert {name for name, one in grids["onnx"].items() if one.gives is None} == ups


def test_the_network_is_left_as_it_is(network, graph, patches):
    before = copy.deepcopy(network.state_dict())
    calibrated(network, patches, shared_inputs(graph), target="openvino")
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layer_that_eight_bits_are_too_few_for_is_found(network, graph, patches):
    changed = copy.deepcopy(network)
    with torch.no_grad():
        # One huge input channel whose weights are tiny: its scale leaves the others no bits.
        block = changed.encoder[0][0]
        block.norm.weight[0] = 1e5
        changed.encoder[0][1].conv.weight[:, 0] *= 1e-5
        changed.encoder[1][0].conv.weight[:, 0] *= 1e-5
    found = calibrated(changed, patches, shared_inputs(graph), target="openvino")
    assert "dB above its noise" in found.kept["encoder.0.1.conv"]
    assert "encoder.0.1.conv" not in found.grids


def test_sensitivity_is_none_where_grids_are_fine(network, patches):
    assert KEPT_BELOW_DB > 0
    assert sensitive(network, patches, {}) == {}


def test_a_run_without_a_known_layer_chooses_nothing(network, patches):
    found = calibrated(network, patches, (), target="openvino")
    assert (found.grids, found.kept) == ({}, {})
    assert set(convolutions(network))
    assert np.isfinite(patches[0]).all()
