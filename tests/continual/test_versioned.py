"""Versions of a data set: made, compared, brought back, sent and fetched; never lost unasked."""

import os
import shutil

import pytest
from looping import add_case, files_of, write_data, write_label

from medseg.continual.versioned import VersionedData
from medseg.dataset.description import save_description
from medseg.errors import DatasetError, VersionError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set with one version; made once, since it takes seconds."""
    root = tmp_path_factory.mktemp("versions") / "data"
    write_data(root, range(4))
    VersionedData.create(root).commit("first")
    return root


@pytest.fixture
def data(made, tmp_path):
    shutil.copytree(made, tmp_path / "data")
    return VersionedData(tmp_path / "data")


def test_what_differs_is_named_and_a_version_brings_it_back(data):
    first = files_of(data.root)
    write_label(data.root / "labels" / "case_01.nii.gz", 1, shift=1)
    add_case(data, 4)
    found = data.diff("v1", "now")
    assert found.added == ("case_04",)
    assert [one.case for one in found.relabelled] == ["case_01"]
    version, _ = data.commit("second")
    assert version.name == "v2"
    assert data.commit("again")[0] == version
    second = files_of(data.root)
    data.check_out("v1")
    assert files_of(data.root) == first
    assert data.diff("v1", "now").is_empty
    assert len(data.description().cases) == 4
    data.check_out("latest")
    assert files_of(data.root) == second
    assert len(data.versions()) == 2


def test_one_changed_byte_is_found_though_its_time_was_set_back(data):
    path = data.root / "labels" / "case_02.nii.gz"
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for verify in (False, True):
        found = data.diff("v1", "now", verify=verify)
        assert [one.case for one in found.relabelled] == ["case_02"]
    with pytest.raises(DatasetError, match="Every case of a version can be read"):
        data.commit("broken")
    data.check_out("v1", force=True)
    assert data.diff("v1", "now", verify=True).is_empty


def test_changes_that_are_in_no_version_are_not_lost(data):
    write_label(data.root / "labels" / "case_01.nii.gz", 1, shift=1)
    before = files_of(data.root)
    with pytest.raises(VersionError, match="changes that are in none: case_01"):
        data.check_out("v1")
    assert files_of(data.root) == before


@pytest.mark.parametrize("name", ["images/stray.nii.gz", "folds.json"])
def test_files_that_are_of_no_case_are_not_lost_either(data, name):
    (data.root / name).write_text("{}")
    with pytest.raises(VersionError, match=f"in none: {name}"):
        data.check_out("v1")
    assert (data.root / name).read_text() == "{}"
    data.commit("with it")
    data.check_out("v1")
    assert not (data.root / name).exists()
    data.check_out("v2")
    assert (data.root / name).read_text() == "{}"


def test_versions_are_found_by_name_commit_and_digest(data):
    version = data.versions()[0]
    digest = data.manifest(version).digest
    for name in ("v1", "latest", version.commit[:8], digest[:8]):
        assert data.find(name) == version
    with pytest.raises(VersionError, match="Versions are v1 to v1"):
        data.find("v7")


def test_files_outside_of_the_folder_are_refused(tmp_path):
    described = write_data(tmp_path / "raw", range(2))
    save_description(described, tmp_path / "apart" / "data")
    with pytest.raises(VersionError, match="--copy-from"):
        VersionedData.create(tmp_path / "apart" / "data")
    assert not (tmp_path / "apart" / "data" / ".git").exists()


def test_a_version_needs_a_reason_and_a_beginning(data, tmp_path):
    with pytest.raises(VersionError, match="says why"):
        data.commit("  ")
    empty = VersionedData.create(tmp_path / "empty")
    with pytest.raises(VersionError, match="none in"):
        empty.find("latest")


@pytest.mark.data
def test_a_data_set_of_180_cases(data_root, tmp_path):
    shutil.copytree(data_root / "Task04_Hippocampus", tmp_path / "data")
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    data = VersionedData.create(tmp_path / "data")
    _, changes = data.commit("all")
    assert len(changes.added) >= 180
    assert data.diff("v1", "now").is_empty
