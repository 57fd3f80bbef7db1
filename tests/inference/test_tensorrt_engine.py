"""TensorRT's engine against a stand-in of its Python API that computes with torch.

What is tested is that the API is called in its order and that memory and batches are right; no
TensorRT ran.
"""

import io
import sys
import types

import numpy as np
import pytest
import torch
from engine_contract import PATCH, EngineContract, graph, network

from medseg.errors import CorruptEngine, MissingDependency
from medseg.inference import tensorrt_engine
from medseg.inference.tensorrt_engine import MOST_PATCHES, TensorRtEngine, build_plan, int8_layers

PLAN = b"a plan"


class Context:
    def __init__(self):
        self.shape, self.places = None, {}

    def set_input_shape(self, name, shape):
        assert name == "image"
        assert shape[0] <= MOST_PATCHES
        self.shape = shape

    def get_tensor_shape(self, name):
        assert name == "logits"
        return (self.shape[0], 3, *self.shape[2:])

    def set_tensor_address(self, name, address):
        self.places[name] = address

    def execute_async_v3(self, stream):
        image = _at(self.places["image"], self.shape)
        with torch.inference_mode():
            _at(self.places["logits"], self.get_tensor_shape("logits"))[:] = network()(
                torch.from_numpy(image)
            ).numpy()


def _at(address, shape):
    import ctypes

    count = int(np.prod(shape))
    buffer = (ctypes.c_float * count).from_address(address)
    return np.frombuffer(buffer, np.float32).reshape(shape)


class Plan:
    def create_execution_context(self):
        return Context()

    def get_tensor_name(self, n):
        return ("image", "logits")[n]

    def create_engine_inspector(self):
        text = (
            '{"Layers": ["a", {"LayerType": "CaskConvolution", "Inputs": [{"Format": "Int8"}]},'
            ' {"LayerType": "CaskConvolution", "Inputs": [{"Format": "Float"}]}]}'
        )
        return types.SimpleNamespace(get_engine_information=lambda how: text)


class Parser:
    def __init__(self, made, logger):
        pass

    def parse(self, content):
        return content != b"no network"

    def get_error(self, n):
        return "not a network"


@pytest.fixture
def exported():
    """A network as ONNX, exported before torch believes that there is a card."""
    return graph().SerializeToString()


@pytest.fixture
def trt(monkeypatch):
    """A module that looks like TensorRT 10, and a device that is the CPU."""
    seen = {}

    class Builder:
        def __init__(self, logger):
            pass

        def create_network(self, flags):
            seen["flags"] = flags
            return types.SimpleNamespace(get_input=lambda n: types.SimpleNamespace(name="image"))

        def create_optimization_profile(self):
            return types.SimpleNamespace(set_shape=lambda *shapes: seen.update(shapes=shapes))

        def create_builder_config(self):
            return types.SimpleNamespace(add_optimization_profile=lambda profile: None)

        def build_serialized_network(self, made, config):
            return seen.get("plan", PLAN)

    module = types.ModuleType("tensorrt")
    module.__version__ = "10.0"
    module.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    module.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    module.ProfilingVerbosity = types.SimpleNamespace(DETAILED=2)
    module.LayerInformationFormat = types.SimpleNamespace(JSON=0)
    module.Builder, module.OnnxParser = Builder, Parser
    module.Runtime = lambda logger: types.SimpleNamespace(
        deserialize_cuda_engine=lambda content: Plan() if content == PLAN else None
    )
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    stream = types.SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(tensorrt_engine, "_DEVICE", torch.device("cpu"))
    return seen


@pytest.mark.usefixtures("trt")
class TestTensorRt(EngineContract):
    name = "tensorrt"

    def engine(self, folder):
        (folder / "0.plan").write_bytes(PLAN)
        return TensorRtEngine(folder / "0.plan", precision="fp32")


def test_a_large_batch_is_cut(trt, tmp_path):
    (tmp_path / "0.plan").write_bytes(PLAN)
    engine = TensorRtEngine(tmp_path / "0.plan", precision="fp32")
    assert len(engine.run(np.zeros((MOST_PATCHES + 3, *PATCH), np.float32))) == MOST_PATCHES + 3


def test_a_plan_is_built_for_any_batch_in_the_types_of_the_file(exported, trt, tmp_path):
    (tmp_path / "0.onnx").write_bytes(exported)
    assert build_plan(tmp_path / "0.onnx", PATCH) == PLAN
    name, least, usual, most = trt["shapes"]
    assert (name, least, usual, most) == ("image", (1, *PATCH), (1, *PATCH), (16, *PATCH))
    assert trt["flags"] == 2


def test_what_is_refused_is_said(trt, tmp_path):
    (tmp_path / "0.onnx").write_bytes(b"no network")
    with pytest.raises(CorruptEngine, match="not a network"):
        build_plan(tmp_path / "0.onnx", PATCH)
    trt["plan"] = None
    (tmp_path / "0.onnx").write_bytes(io.BytesIO(b"some").getvalue())
    with pytest.raises(CorruptEngine, match="no engine was built"):
        build_plan(tmp_path / "0.onnx", PATCH)
    (tmp_path / "0.plan").write_bytes(b"of another card")
    with pytest.raises(CorruptEngine, match="another version or another GPU"):
        TensorRtEngine(tmp_path / "0.plan", precision="fp32")


def test_int8_layers_are_counted_by_the_inspector(trt, tmp_path):
    (tmp_path / "0.plan").write_bytes(PLAN)
    assert int8_layers(tmp_path / "0.plan") == 1
    assert tensorrt_engine.runtime_version() == "tensorrt 10.0, a card"


def test_without_the_package_or_a_gpu_the_cure_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency, match="needs TensorRT"):
        tensorrt_engine.runtime_version()
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDependency, match="needs a GPU"):
        tensorrt_engine.runtime_version()
