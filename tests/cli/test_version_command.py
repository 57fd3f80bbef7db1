"""`medseg version` as it is typed: what it says, and one sentence for each thing that is wrong."""

import json

import pytest
from refusing import refused, run, write_label

from medseg.bundle import load_bundle, save_bundle


@pytest.fixture
def kept(data):
    """A data set with one version."""
    assert run("version", "init", "--data", data).exit_code == 0
    answer = run("version", "commit", "-m", "first", "--data", data)
    assert answer.exit_code == 0, answer.output
    return data


def facts(*words):
    answer = run(*words, "--json")
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_a_change_is_found_made_a_version_and_brought_back(kept):
    write_label(kept / "labels/c1.nii.gz", 1)
    changes = facts("version", "diff", "v1", "--data", kept)
    assert [one["case"] for one in changes["relabelled"]] == ["c1"]
    said = run("version", "add", "--data", kept).stdout
    assert "Relabelled: 1" in said
    assert " ml" in said
    made = facts("version", "commit", "-m", "second", "--data", kept)
    assert (made["version"], made["made"]) == ("v2", True)
    again = facts("version", "commit", "-m", "third", "--data", kept)
    assert (again["version"], again["made"]) == ("v2", False)
    assert facts("version", "checkout", "v1", "--data", kept)["version"] == "v1"
    listed = facts("version", "list", "--data", kept)["versions"]
    assert [(one["version"], one["at_hand"]) for one in listed] == [("v1", True), ("v2", False)]
    assert "at hand" in run("version", "list", "--data", kept).stdout


def test_versions_go_to_a_folder_and_come_back(kept, tmp_path):
    run("version", "remote", "disk", tmp_path / "disk", "--data", kept)
    assert facts("version", "push", "--data", kept) == {"remote": "disk", "latest": "v1"}
    run("version", "init", "--data", tmp_path / "other")
    run("version", "remote", "disk", tmp_path / "disk", "--data", tmp_path / "other")
    assert facts("version", "pull", "--data", tmp_path / "other")["new"] == ["v1"]
    assert (tmp_path / "other" / "labels" / "c0.nii.gz").is_file()


def test_a_bundle_is_found_and_its_data_compared(kept, whole, tmp_path):
    digest = facts("version", "list", "--data", kept)["versions"][0]["digest"]
    model = load_bundle(whole)
    origin = model.provenance.model_copy(
        update={"data_version": digest, "training_cases": ("c0", "c1")}
    )
    save_bundle(type(model)(model.plan, origin, model.members), tmp_path / "model")
    shown = facts("version", "show", tmp_path / "model", "--data", kept)
    assert (shown["version"], shown["matches"]) == ("v1", True)
    write_label(kept / "labels/c1.nii.gz", 1)
    answer = run("version", "show", tmp_path / "model", "--data", kept)
    assert answer.exit_code == 1
    assert "Changed since: 1 (c1)" in answer.stdout
    unnamed = run("version", "show", whole, "--data", kept)
    assert unnamed.exit_code == 1
    assert "names no version" in unnamed.stdout


def test_a_data_set_is_copied_to_begin_with(raw, tmp_path):
    answer = run("version", "init", "--data", tmp_path / "copy", "--copy-from", raw)
    assert answer.exit_code == 0, answer.output
    assert len(list((tmp_path / "copy" / "images").iterdir())) == 4


def test_what_is_wrong_is_one_sentence(kept, tmp_path):
    refused("continual-version", "version", "list", "--data", tmp_path, at=tmp_path)
    refused("continual-version", "version", "diff", "v9", "--data", kept, at=tmp_path)
    refused("continual-version", "version", "push", "--data", kept, at=tmp_path)
    refused("continual-version", "version", "push", "gone", "--data", kept, at=tmp_path)
    write_label(kept / "labels/c1.nii.gz", 1)
    refused("continual-version", "version", "checkout", "v1", "--data", kept, at=tmp_path)
    (kept / "labels/c2.nii.gz").write_bytes(b"rubbish")
    refused("dataset", "version", "commit", "-m", "x", "--data", kept, at=tmp_path)
    assert run("version", "remote", "only", "--data", kept).exit_code == 2
