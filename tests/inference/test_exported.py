"""Where engines lie, and when they may be used."""

import json

import pytest
from engine_files import RUNTIME, put
from small import make_bundle, make_plan

from medseg.bundle import Configuration, save_bundle
from medseg.errors import CorruptEngine, ForeignEngine, NoEngine
from medseg.inference import exported
from medseg.inference.exported import (
    EngineRecord,
    Place,
    engines_of,
    find_engine,
    home_for_writing,
    homes,
    networks_of,
    numbers_of,
    read_engine,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(exported.Path, "home", lambda: tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def saved(tmp_path, home):
    return save_bundle(make_bundle(), tmp_path / "bundle")


def test_an_engine_is_found_again(saved):
    made = put(saved)
    found = find_engine(saved, "openvino", "fp32")
    assert (found.folder, found.record) == (made.folder, made.record)
    assert list(engines_of(saved)) == [made.folder]
    found.require_usable(saved, RUNTIME)
    assert found.record.name == "openvino fp32"


def test_what_was_not_exported_is_said_with_the_command(saved):
    with pytest.raises(NoEngine, match=r"without openvino int8.*medseg export .*--precision int8"):
        find_engine(saved, "openvino", "int8")
    assert read_engine(saved.folder) is None


def test_a_changed_file_is_named_with_its_hash(saved):
    made = put(saved)
    (made.folder / "0.xml").write_bytes(b"another network")
    with pytest.raises(CorruptEngine, match=r"0\.xml is not\. Received: SHA-256 [0-9a-f]{12} for"):
        made.require_usable(saved, RUNTIME)
    (made.folder / "0.xml").unlink()
    with pytest.raises(CorruptEngine, match="SHA-256 no file for"):
        made.require_usable(saved, RUNTIME)


def test_a_broken_record_is_said(saved):
    made = put(saved)
    (made.folder / "engine.json").write_text('{"format": 1}')
    with pytest.raises(CorruptEngine, match=r"engine\.json is not. Received: kind: Field required"):
        find_engine(saved, "openvino", "fp32")


@pytest.mark.parametrize(
    ("facts", "runtime", "sentence"),
    [
        ({"weights_sha256": "0" * 64}, RUNTIME, "another weights: 000000000000, here"),
        ({}, "openvino 2027.0", "version of the runtime: openvino 2026.4.1, here openvino 2027.0"),
        ({"place": "avx"}, RUNTIME, "another processor: avx_quantum lacking here"),
    ],
)
def test_an_engine_of_another_place_is_refused(saved, facts, runtime, sentence):
    if "place" in facts:
        here = Place.here(RUNTIME)
        more = (*here.instructions, "avx_quantum")
        facts = {"place": here.model_copy(update={"instructions": more})}
    made = put(saved, **facts)
    with pytest.raises(ForeignEngine, match=rf"{sentence}.*medseg export"):
        made.require_usable(saved, runtime)


def test_bundles_that_may_not_be_written_have_engines_in_the_cache(saved, home, monkeypatch):
    assert home_for_writing(saved) == saved.folder
    monkeypatch.setattr(exported.os, "access", lambda path, how: False)
    cached = home_for_writing(saved)
    assert cached == home / ".cache" / "medseg" / "engines" / saved.weights_sha256[:16]
    made = put(saved)
    assert made.folder.is_relative_to(cached)
    assert find_engine(saved, "openvino", "fp32").folder == made.folder


def test_bundles_in_the_box_are_not_written_to(saved, home, monkeypatch):
    monkeypatch.setattr(exported, "BUILTIN_FOLDER", saved.folder.parent)
    assert home_for_writing(saved).is_relative_to(home)


def test_a_bundle_in_memory_has_no_engines():
    assert homes(make_bundle()) == ()
    with pytest.raises(NoEngine, match="saved before it is exported"):
        home_for_writing(make_bundle())


def test_networks_are_numbered_through_all_configurations():
    plan = make_plan()
    other = make_bundle(plan, members=3)
    bundle = make_bundle(plan, members=2, further=(Configuration(plan, other.members),))
    first, second = networks_of(bundle)
    assert numbers_of(bundle, first) == range(2)
    assert numbers_of(bundle, second) == range(2, 5)
    with pytest.raises(ValueError, match="another bundle"):
        numbers_of(bundle, make_bundle().configurations[0])


def test_the_record_survives_json(saved):
    made = put(saved)
    assert EngineRecord.model_validate(json.loads(made.record.model_dump_json())) == made.record
