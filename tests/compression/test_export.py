"""A bundle for another runtime: written whole, checked, used, and refused where it differs."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from exports import make_bundle, make_plan

from medseg.bundle import Configuration, load_bundle, save_bundle
from medseg.compression import export as exporting
from medseg.compression.export import ExportSettings, export
from medseg.dataset.description import read_case
from medseg.errors import EngineDiffers, MissingDependency, NoEngine, WrongInput
from medseg.inference.exported import read_engine
from medseg.inference.predict import Predictor


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return save_bundle(make_bundle(members=2), tmp_path_factory.mktemp("fresh") / "bundle")


@pytest.fixture(scope="module")
def in_int8(fresh, balls):
    return export(fresh, ExportSettings("openvino", "int8"), data=balls)


def test_every_network_is_written_and_checked(fresh, tmp_path):
    done = export(fresh, ExportSettings("onnx"))
    assert done.folder == fresh.folder / "onnx" / "fp32"
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"0.onnx", "1.onnx", "engine.json", "pipeline.json", "predict.py"}
    record = done.record
    assert (record.networks, record.parity.patches, record.parity.source) == (2, 8, "made up")
    assert record.parity.largest_difference < 1e-3
    assert record.parity.dice == 1.0
    assert record.patch_ms > 0
    assert set(record.files) == names - {"engine.json"}
    assert read_engine(done.folder).record == record


def test_int8_is_calibrated_counted_and_judged(in_int8):
    record = in_int8.record
    assert record.parity.against == "fake quantisation"
    assert record.quantisation.layers == 4
    assert record.quantisation.patches == 32
    assert set(record.quantisation.kept) == {"encoder.0.0.conv", "heads.0"}
    assert record.accuracy.cases == ("ball_3", "ball_4", "ball_5")
    assert record.accuracy.are_held_out
    assert record.accuracy.dice.torch > 0.5
    assert record.accuracy.dice.change > -0.005
    assert (
        record.accuracy.dice.ci_low <= record.accuracy.dice.change <= record.accuracy.dice.ci_high
    )
    assert record.accuracy.hd95_mm is not None


def test_engines_give_the_mask_of_torch(fresh, in_int8, balls):
    export(fresh, ExportSettings("openvino"))
    loaded = load_bundle(fresh.folder)
    volume = read_case(balls, balls.cases[4])
    exact = Predictor(loaded, engine="torch", precision="fp32").predict(volume).label_map.array
    for precision, least in (("fp32", 1.0), ("int8", 0.99)):
        predictor = Predictor(loaded, engine="openvino", precision=precision)
        assert {engine.name for engine in predictor.engines} == {"openvino"}
        assert len(predictor.engines) == 2
        found = predictor.predict(volume).label_map.array
        assert (found == exact).mean() >= least
    assert predictor.precision == "int8"


def test_a_network_that_is_torchs_own_loses_in_a_runtime_that_differs(fresh, monkeypatch, balls):
    real = exporting.open_engine

    def off(*words):
        engine = real(*words)
        run = engine.run
        engine.run = lambda batch: run(batch) + 0.1
        return engine

    monkeypatch.setattr(exporting, "open_engine", off)
    before = sorted(fresh.folder.rglob("*"))
    with pytest.raises(EngineDiffers, match="onnx fp16: Dice"):
        export(fresh, ExportSettings("onnx", "fp16"))
    assert sorted(fresh.folder.rglob("*")) == before


def test_too_large_a_loss_of_dice_is_refused_and_the_old_engine_stays(fresh, in_int8, balls):
    before = (in_int8.folder / "engine.json").read_bytes()
    worse = replace(fresh, members=tuple(_spoilt(member) for member in fresh.members))
    schooled = exporting.Schooled(fresh, 1.0, None)
    with pytest.raises(EngineDiffers, match=r"falls by no more than 0\.005.*openvino int8"):
        export(worse, ExportSettings("openvino", "int8"), data=balls, schooled=schooled)
    assert (in_int8.folder / "engine.json").read_bytes() == before


def _spoilt(member):
    changed = {name: tensor.clone() for name, tensor in member.items()}
    changed["heads.0.bias"] += torch.tensor([0.0, 0.0, 4.0])
    return changed


def test_a_runtime_without_int8_kernels_is_refused(fresh, balls, monkeypatch):
    monkeypatch.setattr(exporting.onnx_engine, "int8_layers", lambda path: 0)
    with pytest.raises(EngineDiffers, match="whose own graph has none"):
        export(fresh, ExportSettings("onnx", "int8"), data=balls)


@pytest.mark.slow
def test_onnx_runtime_computes_in_int8_too(fresh, balls):
    record = export(fresh, ExportSettings("onnx", "int8", cases=1), data=balls).record
    assert record.quantisation.layers > 0
    assert record.accuracy.dice.change > -0.005


@pytest.mark.parametrize("kind", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_slices_are_exported_too(kind, tmp_path, balls):
    flat = save_bundle(make_bundle(make_plan(dims=2)), tmp_path / "flat")
    export(flat, ExportSettings(kind))
    volume = read_case(balls, balls.cases[4])
    exact = Predictor(flat, engine="torch", precision="fp32").predict(volume).label_map.array
    found = Predictor(flat, engine=kind, precision="fp32").predict(volume).label_map.array
    np.testing.assert_array_equal(found, exact)


@pytest.mark.slow
def test_every_configuration_is_exported_by_the_number_of_its_networks(tmp_path, balls):
    flat = make_bundle(make_plan(dims=2))
    both = make_bundle(further=(Configuration(flat.plan, flat.members),))
    saved = save_bundle(both, tmp_path / "both")
    record = export(saved, ExportSettings("onnx")).record
    assert record.networks == 2
    assert "predict.py" not in record.files
    volume = read_case(balls, balls.cases[4])
    exact = Predictor(saved, engine="torch", precision="fp32").predict(volume).label_map.array
    found = Predictor(saved, engine="onnx").predict(volume).label_map.array
    np.testing.assert_array_equal(found, exact)


def test_what_cannot_be_is_said_before_anything_is_written(fresh, balls, monkeypatch):
    with pytest.raises(NoEngine, match=r"calibrated on images.*--calibrate"):
        export(fresh, ExportSettings("openvino", "int8"))
    with pytest.raises(NoEngine, match="saved before"):
        export(replace(fresh, folder=None), ExportSettings("onnx"))
    with pytest.raises(NoEngine, match="Received: bf16"):
        export(fresh, ExportSettings("onnx", "bf16"))
    with pytest.raises(MissingDependency, match="TensorRT"):
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        export(fresh, ExportSettings("tensorrt"))
    ct = balls.model_copy(
        update={"channels": (balls.channels[0].model_copy(update={"modality": "CT"}),)}
    )
    with pytest.raises(WrongInput, match="images of its own kind"):
        export(fresh, ExportSettings("openvino", "int8"), data=ct)
    assert not (fresh.folder / "tensorrt").exists()


def test_the_record_is_json_that_people_can_read(in_int8):
    content = json.loads((in_int8.folder / "engine.json").read_text())
    assert content["kind"] == "openvino"
    assert content["place"]["runtime"].startswith("openvino 20")
