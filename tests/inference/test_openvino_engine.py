"""OpenVINO keeps the contract of engines, and says what it really computes."""

import sys

import pytest
from engine_contract import PATCH, EngineContract, graph

from medseg.compression.writers import write_network
from medseg.errors import CorruptEngine, MissingDependency
from medseg.inference.openvino_engine import OpenVinoEngine, runtime_version


def written(folder, precision="fp32"):
    write_network(graph(), folder, 0, kind="openvino", precision=precision, patch=PATCH)
    return folder / "0.xml"


class TestOpenVino(EngineContract):
    name = "openvino"

    def engine(self, folder):
        return OpenVinoEngine(written(folder), precision="fp32", threads=1)


def test_fp32_is_asked_for_and_computed(tmp_path):
    engine = OpenVinoEngine(written(tmp_path), precision="fp32", threads=1)
    assert engine.computes_in == {"f32"}
    assert engine.int8_layers == 0
    assert ("Input", "unknown_f32") in engine.executed()


def test_a_broken_file_is_said(tmp_path):
    written(tmp_path)
    (tmp_path / "0.xml").write_bytes(b"<net")
    with pytest.raises(CorruptEngine, match=r"it refuses .*0\.xml"):
        OpenVinoEngine(tmp_path / "0.xml", precision="fp32", threads=1)


def test_without_the_package_the_cure_is_said(monkeypatch):
    assert runtime_version().startswith("openvino 20")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r"needs OpenVINO.*pip install"):
        runtime_version()
