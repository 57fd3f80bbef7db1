"""ONNX Runtime keeps the contract of engines, and says what it cannot run."""

import sys

import pytest
from engine_contract import EngineContract, graph

from medseg.errors import CorruptEngine, MissingDependency
from medseg.inference import onnx_engine
from medseg.inference.onnx_engine import OnnxEngine, int8_layers, runtime_version


def written(folder):
    path = folder / "0.onnx"
    path.write_bytes(graph().SerializeToString())
    return path


class TestOnnx(EngineContract):
    name = "onnx"

    def engine(self, folder):
        return OnnxEngine(written(folder), precision="fp32", threads=1)


def test_a_float_graph_has_no_int8_layers(tmp_path):
    assert int8_layers(written(tmp_path)) == 0


def test_a_broken_file_is_said(tmp_path):
    (tmp_path / "0.onnx").write_bytes(b"no network")
    with pytest.raises(CorruptEngine, match=r"it refuses .*0\.onnx"):
        OnnxEngine(tmp_path / "0.onnx", precision="fp32", threads=1)


def test_without_the_package_the_cure_is_said(monkeypatch):
    assert runtime_version().startswith("onnxruntime ")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"needs ONNX Runtime.*pip install"):
        onnx_engine.runtime_version()
