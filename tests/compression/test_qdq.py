"""INT8 in ONNX graphs: the numbers of fake quantisation, in a quarter of the bytes."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from medseg.compression import writers
from medseg.compression.calibrate import calibrated
from medseg.compression.fake import LayerGrids, convolutions, fake_quantise
from medseg.compression.graph import onnx_graph
from medseg.compression.grids import Grid
from medseg.compression.qdq import barred, convolution_nodes, quantised, shared_inputs
from medseg.compression.writers import write_network
from medseg.inference.engines import open_engine


def run(model, image):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"image": image})[0]


def faked(network, grids, image):
    changed = copy.deepcopy(network)
    fake_quantise(changed, grids)
    with torch.inference_mode():
        return changed(torch.from_numpy(image)).numpy()


def test_nodes_are_known_by_their_modules(network, graph):
    run_ones = [name for name in convolutions(network) if not name.startswith("heads.1")]
    assert sorted(convolution_nodes(graph)) == sorted(run_ones)


def test_what_is_concatenated_shares_a_grid(graph):
    groups = {frozenset(group) for group in shared_inputs(graph)}
    assert frozenset({"encoder.1.0.conv", "decoder.0.0.conv"}) in groups
    assert frozenset({"encoder.0.0.conv"}) in groups
    assert sorted(name for group in groups for name in group) == sorted(convolution_nodes(graph))


@pytest.mark.parametrize("target", ["openvino", "onnx", "tensorrt"])
def test_it_computes_what_fake_quantisation_does(network, graph, patches, target):
    found = calibrated(network, patches, shared_inputs(graph), target=target)
    model = quantised(graph, found.grids)
    expected = faked(network, found.grids, patches[0])
    # A value that is rounded to the other side moves what follows by a step.
    difference = np.abs(run(model, patches[0]) - expected)
    assert np.sqrt(np.square(difference).mean()) < 0.03 * expected.std()
    with torch.inference_mode():
        exact = network(torch.from_numpy(patches[0])).numpy()
    assert not np.array_equal(expected, exact)


def test_on_the_finest_of_grids_only_weights_are_rounded(network, graph, patches):
    names = ["encoder.0.1.conv", "decoder.0.0.conv", "encoder.1.0.conv", "ups.0"]
    grids = dict.fromkeys(names, LayerGrids(Grid(0.02, 0, -128, 127)))
    model = quantised(graph, grids)
    found, expected = run(model, patches[0]), faked(network, grids, patches[0])
    assert np.sqrt(np.square(found - expected).mean()) < 0.05 * expected.std()


def test_weights_are_integers_of_a_quarter_the_size(graph):
    grids = {"encoder.0.1.conv": LayerGrids(Grid(0.1, 0, 0, 255))}
    model = quantised(graph, grids)
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert "encoder.0.1.conv.weight" not in stored
    integers = stored["encoder.0.1.conv.weight/int8/0"]
    assert integers.dtype == np.int8
    assert np.abs(integers).max() == 127
    before = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    assert integers.nbytes * 4 == before["encoder.0.1.conv.weight"].nbytes


def test_the_graph_in_float_is_left_as_it_is(graph):
    before = graph.SerializeToString()
    quantised(graph, {"ups.0": LayerGrids(Grid(0.1, 0, 0, 255))})
    assert graph.SerializeToString() == before


def test_pairs_stand_before_what_is_concatenated(graph):
    grids = dict.fromkeys(
        ["encoder.1.0.conv", "decoder.0.0.conv"], LayerGrids(Grid(0.1, 0, 0, 255))
    )
    model = quantised(graph, grids)
    (joined,) = [node for node in model.graph.node if node.op_type == "Concat"]
    assert all(part.endswith("/dequantised") for part in joined.input)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 2
    onnx.checker.check_model(model, full_check=True)


def test_a_layer_that_is_not_there_is_an_error(graph):
    with pytest.raises(KeyError, match="nowhere"):
        quantised(graph, {"nowhere": LayerGrids(Grid(0.1, 0, 0, 255))})


class AddedTwice(torch.nn.Module):
    """A transposed convolution whose output is used in three ways, and one that is used once."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.ConvTranspose3d(4, 4, 2, stride=2, bias=False)
        self.conv = torch.nn.Conv3d(4, 4, 3, padding=1, bias=False)
        self.last = torch.nn.ConvTranspose3d(4, 2, 2, stride=2, bias=False)

    def forward(self, image):
        raised = self.up(image)
        return self.last(self.conv(raised) + raised)


def test_what_openvino_would_scale_twice_is_barred(tmp_path, monkeypatch):
    """The reason for the bar is shown as well: should this fail, OpenVINO has mended it."""
    monkeypatch.setattr(writers, "_faster_rest", lambda network, patch: "f32")
    torch.manual_seed(0)
    network = AddedTwice().eval()
    image = torch.randn(1, 4, 4, 4, 4)
    model = onnx_graph(network, image.shape[1:])
    assert set(barred(model, "openvino")) == {"up"}
    assert barred(model, "onnx") == {}
    grids = {name: LayerGrids(Grid(0.05, 0, -128, 127)) for name in ("up", "last")}
    apart = {}
    for name, grid in grids.items():
        fake = copy.deepcopy(network)
        fake_quantise(fake, {name: grid})
        write_network(
            quantised(model, {name: grid}), tmp_path, 0, kind="openvino", precision="int8",
            patch=image.shape[1:],
        )  # fmt: skip
        engine = open_engine(tmp_path, 0, "openvino", "int8")
        with torch.inference_mode():
            expected = fake(image).numpy()
        apart[name] = np.abs(engine.run(image.numpy()) - expected).max() / np.abs(expected).max()
    assert apart["last"] < 0.01
    assert apart["up"] > 0.1
