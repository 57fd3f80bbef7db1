"""Torch's compiler keeps the contract of engines; what it needs or refuses is one sentence."""

import numpy as np
import pytest
import torch
from engine_contract import PATCH, EngineContract, network
from engine_files import put
from small import make_bundle

from medseg.bundle import save_bundle
from medseg.compression import compile as compiling
from medseg.compression.compile import write_package
from medseg.compression.export import ExportSettings, export
from medseg.errors import CorruptEngine, MissingDependency, NoEngine
from medseg.inference import engines, exported
from medseg.inference.compiled_engine import CompiledEngine, runtime_version
from medseg.inference.exported import engines_of, find_engine, home_for_writing

_MADE = {}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The network of the contract, compiled once."""
    path = tmp_path_factory.mktemp("compiled") / "0.pt2"
    try:
        write_package(network(), path, PATCH)
    except MissingDependency as error:
        pytest.skip(str(error))
    _MADE["path"] = path
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("package")
class TestCompiled(EngineContract):
    name = "compiled"

    def engine(self, folder):
        return CompiledEngine(_MADE["path"], precision="fp32")

    def test_it_runs_on_as_many_threads_as_torch_does(self, tmp_path):
        engine, before = self.engine(tmp_path), torch.get_num_threads()
        expected = engine.run(self.batch(1))
        try:
            torch.set_num_threads(2 if before == 1 else 1)
            np.testing.assert_allclose(engine.run(self.batch(1)), expected, atol=1e-5)
        finally:
            torch.set_num_threads(before)


def test_a_spoilt_package_is_refused(tmp_path):
    spoilt = tmp_path / "0.pt2"
    spoilt.write_bytes(b"PK" + bytes(1000))
    with pytest.raises(CorruptEngine, match="refuses"):
        CompiledEngine(spoilt, precision="fp32")


def test_its_version_is_that_of_torch():
    assert torch.__version__ in runtime_version()
    assert engines.runtime_version("compiled") == runtime_version()


def test_without_a_compiler_one_sentence_says_so(saved, monkeypatch):
    from torch._inductor import cpp_builder, exc

    def none():
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(MissingDependency, match=r"built by a C\+\+ compiler.*apt install g\+\+"):
        export(saved, ExportSettings("compiled"))
    assert not list(engines_of(saved))
    assert engines.choose_engines(saved).name == "torch"


def test_a_network_that_the_compiler_does_not_take_is_refused(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(compiling.torch._inductor, "aoti_compile_and_package", fails)
    with pytest.raises(NoEngine, match="RuntimeError: no kernel for this"):
        write_package(network(), tmp_path / "0.pt2", PATCH)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setattr(exported.Path, "home", lambda: tmp_path / "home")
    return save_bundle(make_bundle(), tmp_path / "bundle")


def test_programs_lie_in_the_cache_and_never_come_from_a_bundle(saved):
    home = home_for_writing(saved, "compiled")
    assert home.is_relative_to(exported.Path.home())
    assert home_for_writing(saved, "openvino") == saved.folder
    sent = put(saved, "compiled", folder=saved.folder / "compiled" / "fp32")
    assert list(engines_of(saved)) == []
    with pytest.raises(NoEngine, match="exported before it is used"):
        find_engine(saved, "compiled", "fp32")
    with pytest.raises(NoEngine, match="--to compiled"):
        engines.choose_engines(saved, engine="compiled")
    own = put(saved, "compiled", folder=home / "compiled" / "fp32")
    assert own.record.files == sent.record.files
    assert list(engines_of(saved)) == [own.folder]
    assert find_engine(saved, "compiled", "fp32").folder == own.folder


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_a_bundle_is_compiled_checked_and_used(saved):
    done = export(saved, ExportSettings("compiled"))
    assert {path.name for path in done.folder.iterdir()} == {
        "0.pt2", "engine.json", "pipeline.json"
    }  # fmt: skip
    assert done.record.parity.dice == 1.0
    assert done.record.parity.largest_difference < 1e-3
    maker = engines.choose_engines(saved, engine="compiled")
    (engine,) = maker(saved.configurations[0])
    patch = engines.patch_of(saved.configurations[0])
    (exact,) = engines.TorchMaker(device="cpu", precision="fp32")(saved.configurations[0])
    np.testing.assert_allclose(engine.run(patch), exact.run(patch), atol=1e-4)
