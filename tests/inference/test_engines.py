"""Which engine runs: the one that was asked for, or the fastest that was checked."""

import json

import numpy as np
import pytest
from engine_files import RUNTIME, put
from small import make_bundle

from medseg.bundle import save_bundle
from medseg.errors import ForeignEngine, MissingDependency, NoEngine
from medseg.inference import engines, exported
from medseg.inference.engine import Engine
from medseg.inference.engines import TorchMaker, checked, choose_engines, patch_ms, patch_of
from medseg.inference.predict import Predictor

SLOW_MS = {"openvino fp32": 5, "openvino int8": 1, "onnx fp32": 9, "torch auto": 7}


class Told:
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)

    def task(self, what, total):
        from medseg.progress import SILENT

        return SILENT.task(what, total)


class Fake(Engine):
    gate_names = ()

    def __init__(self, name, precision):
        self.name, self.precision = name, precision

    def run(self, batch):
        return np.zeros((len(batch), 3, *batch.shape[2:]), np.float32)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(exported.Path, "home", lambda: tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def saved(tmp_path, home):
    return save_bundle(make_bundle(), tmp_path / "bundle")


@pytest.fixture
def timed(monkeypatch):
    """Engines that take as long as `SLOW_MS` says; what was timed."""
    asked = []
    monkeypatch.setattr(engines, "open_engine", lambda folder, n, kind, how: Fake(kind, how))
    versions = {"openvino": RUNTIME, "onnx": RUNTIME}
    monkeypatch.setattr(engines, "runtime_version", versions.__getitem__)

    def milliseconds(engine, patch, repeats=3):
        name = f"{engine.name} {'auto' if engine.name == 'torch' else engine.precision}"
        asked.append(name)
        return SLOW_MS[name]

    monkeypatch.setattr(engines, "patch_ms", milliseconds)
    return asked


def names(maker):
    return f"{maker.name} {maker.precision}"


def test_a_bundle_without_engines_runs_in_torch_and_nothing_is_timed(saved, timed):
    assert names(choose_engines(saved)) == "torch auto"
    assert names(choose_engines(make_bundle())) == "torch auto"
    assert timed == []


def test_auto_is_the_fastest_and_is_remembered(saved, timed, home):
    for precision in ("fp32", "int8"):
        put(saved, precision=precision)
    told = Told()
    assert names(choose_engines(saved, progress=told)) == "openvino int8"
    assert sorted(timed) == ["openvino fp32", "openvino int8", "torch auto"]
    assert "Engine openvino int8: the fastest" in told.notes[0]
    assert names(choose_engines(saved)) == "openvino int8"
    assert len(timed) == 3
    (kept,) = (home / ".cache/medseg/choices").glob("*.json")
    assert json.loads(kept.read_text())["patch_ms"]["torch auto"] == 7
    kept.write_text("{")
    assert names(choose_engines(saved)) == "openvino int8"
    assert len(timed) == 6


def test_another_engine_or_number_of_threads_is_timed_again(saved, timed, monkeypatch):
    put(saved)
    assert names(choose_engines(saved)) == "openvino fp32"
    put(saved, precision="int8")
    assert names(choose_engines(saved)) == "openvino int8"
    before = len(timed)
    monkeypatch.setattr(engines, "threads", lambda: 77)
    choose_engines(saved)
    assert len(timed) > before


def test_torch_wins_where_it_is_fastest(saved, timed):
    put(saved, kind="onnx")
    assert names(choose_engines(saved)) == "torch auto"


def test_auto_passes_over_what_cannot_be_used_and_says_so(saved, timed):
    made = put(saved, precision="int8")
    (made.folder / "0.xml").write_bytes(b"changed")
    told = Told()
    assert names(choose_engines(saved, progress=told)) == "torch auto"
    assert told.notes[0].startswith("Passed over openvino int8. The files of an engine are")


def test_auto_passes_over_a_runtime_that_is_not_there(saved, monkeypatch):
    put(saved)

    def missing(kind):
        raise MissingDependency("The engine openvino needs OpenVINO.")

    monkeypatch.setattr(engines, "runtime_version", missing)
    told = Told()
    assert names(choose_engines(saved, progress=told)) == "torch auto"
    assert "needs OpenVINO" in told.notes[0]
    with pytest.raises(MissingDependency, match="needs OpenVINO"):
        choose_engines(saved, engine="openvino")


def test_an_engine_that_fails_when_it_is_opened_is_passed_over(saved, timed, monkeypatch):
    def fails(folder, n, kind, how):
        raise ForeignEngine("It does not run.")

    put(saved)
    monkeypatch.setattr(engines, "open_engine", fails)
    told = Told()
    assert names(choose_engines(saved, progress=told)) == "torch auto"
    assert told.notes[0] == "Passed over openvino fp32. It does not run."


def test_what_is_asked_for_is_given_or_refused(saved, timed):
    put(saved)
    put(saved, precision="int8", torch_ms=9.0)
    assert names(choose_engines(saved, engine="openvino")) == "openvino int8"
    assert names(choose_engines(saved, engine="openvino", precision="fp32")) == "openvino fp32"
    assert names(choose_engines(saved, engine="torch", precision="bf16")) == "torch bf16"
    assert names(choose_engines(saved, precision="int8")) == "openvino int8"
    with pytest.raises(NoEngine, match="without onnx fp32"):
        choose_engines(saved, engine="onnx", precision="fp32")
    with pytest.raises(NoEngine, match="onnx for phantom, whose engines are: openvino fp32, op"):
        choose_engines(saved, engine="onnx")
    with pytest.raises(NoEngine, match=r"torch int8 for phantom.*--calibrate DATASET"):
        choose_engines(saved, engine="torch", precision="int8")


def test_int8_is_not_made_of_torch(saved):
    with pytest.raises(NoEngine, match=r"int8 for phantom, whose engines are: none"):
        choose_engines(saved, precision="int8")


def test_a_predictor_runs_what_was_chosen_and_the_record_says_it(saved, timed):
    put(saved, precision="int8")
    predictor = Predictor(saved)
    assert (predictor.engines[0].name, predictor.precision) == ("openvino", "int8")
    own = Predictor(saved, maker=TorchMaker(precision="fp32"))
    assert (own.engines[0].name, own.precision) == ("torch", "fp32")


def test_an_engine_of_other_weights_is_refused_by_name(saved, timed):
    made = put(saved, weights_sha256="1" * 64)
    with pytest.raises(ForeignEngine, match="another weights"):
        checked(saved, made)
    with pytest.raises(ForeignEngine, match="another weights"):
        choose_engines(saved, engine="openvino")


def test_a_choice_that_cannot_be_kept_is_no_error(saved, timed, home, tmp_path):
    put(saved)
    (tmp_path / "home").write_text("no folder")
    told = Told()
    assert names(choose_engines(saved, progress=told)) == "openvino fp32"
    assert "cannot be remembered" in told.notes[1]


def test_milliseconds_are_the_median_after_a_first_run(monkeypatch):
    clock = iter([0, 9, 9, 10, 10, 13, 13, 15])
    monkeypatch.setattr(engines.time, "perf_counter", lambda: next(clock))
    engine = Fake("openvino", "fp32")
    configuration = make_bundle().configurations[0]
    assert patch_of(configuration, batch=2).shape == (2, 1, 16, 16, 16)
    assert patch_ms(engine, patch_of(configuration)) == 2000
