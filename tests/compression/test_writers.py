"""Files of each runtime, and OpenVINO's way with pairs of signed integers."""

import copy

import numpy as np
import onnx
import openvino
import pytest
import torch

from medseg.compression import writers
from medseg.compression.calibrate import calibrated
from medseg.compression.fake import fake_quantise
from medseg.compression.qdq import quantised, shared_inputs
from medseg.compression.writers import OFFERED, join_pairs, require_offered, write_network
from medseg.errors import NoEngine
from medseg.inference.openvino_engine import OpenVinoEngine


def test_bf16_of_onnx_is_refused_with_what_there_is():
    for kind, precisions in OFFERED.items():
        for precision in precisions:
            require_offered(kind, precision)
    with pytest.raises(NoEngine, match=r"onnx compute in fp32, fp16, int8\. Received: bf16"):
        require_offered("onnx", "bf16")


def test_half_precision_files_are_half_the_size_and_keep_their_door(graph, tmp_path):
    sizes = {}
    for number, precision in enumerate(("fp32", "fp16")):
        write_network(
            graph, tmp_path, number, kind="onnx", precision=precision, patch=(1, 16, 16, 8)
        )
        sizes[precision] = (tmp_path / f"{number}.onnx").stat().st_size
    assert sizes["fp16"] < 0.8 * sizes["fp32"]
    model = onnx.load(str(tmp_path / "1.onnx"))
    kinds = {one.type.tensor_type.elem_type for one in (*model.graph.input, *model.graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert {one.data_type for one in model.graph.initializer} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("target", ["openvino", "tensorrt"])
def test_signed_and_unsigned_pairs_compute_what_torch_does(
    network, graph, patches, tmp_path, target
):
    found = calibrated(network, patches, shared_inputs(graph), target=target)
    model = quantised(graph, found.grids)
    write_network(model, tmp_path, 0, kind="openvino", precision="int8", patch=patches[0].shape[1:])
    engine = OpenVinoEngine(tmp_path / "0.xml", precision="int8", threads=1)
    changed = copy.deepcopy(network)
    fake_quantise(changed, found.grids)
    with torch.inference_mode():
        expected = changed(torch.from_numpy(patches[0])).numpy()
    noise = np.sqrt(np.square(engine.run(patches[0]) - expected).mean())
    assert noise < 0.03 * expected.std()


def test_each_pair_becomes_one_layer(network, graph, patches):
    found = calibrated(network, patches, shared_inputs(graph), target="tensorrt")
    model = quantised(graph, found.grids)
    pairs = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    read = openvino.Core().read_model(model.SerializeToString(), b"")
    assert join_pairs(read) == pairs
    assert join_pairs(read) == 0


def test_a_quantised_model_says_what_its_other_layers_compute_in(
    graph, network, patches, tmp_path, monkeypatch
):
    found = calibrated(network, patches, shared_inputs(graph), target="openvino")
    model, patch = quantised(graph, found.grids), patches[0].shape[1:]
    for rest in ("f32", "bf16"):
        monkeypatch.setattr(writers, "_faster_rest", lambda network, patch, rest=rest: rest)
        write_network(model, tmp_path, 0, kind="openvino", precision="int8", patch=patch)
        engine = OpenVinoEngine(tmp_path / "0.xml", precision="int8", threads=1)
        assert engine.int8_layers == len(found.grids)
        assert engine.computes_in <= {"i8", rest}
