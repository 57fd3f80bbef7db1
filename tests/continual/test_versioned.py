"""Versions of a data set: made, compared, brought back, sent and fetched; never lost unasked."""

import os
import shutil

import pytest
from looping import write_data, write_image, write_label
from watching import small_bundle

from medseg.continual.versioned import VersionedData
from medseg.dataset.description import Case, load_description, save_description
from medseg.errors import DatasetError, VersionError
from medseg.files import sha256


def files_of(root):
    return {
        str(path.relative_to(root)): sha256(path)
        for folder in ("images", "labels") for path in sorted((root / folder).glob("*"))
    }  # fmt: skip


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


def add_case(data, n):
    root = data.root
    write_image(root / "images" / f"case_{n:02d}.nii.gz", n)
    write_label(root / "labels" / f"case_{n:02d}.nii.gz", n)
    description = load_description(root)
    name = f"case_{n:02d}"
    case = Case(id=name, images=(root / "images" / f"{name}.nii.gz",),
                label=root / "labels" / f"{name}.nii.gz")  # fmt: skip
    save_description(description.model_copy(update={"cases": (*description.cases, case)}), root)


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


def test_all_versions_go_to_a_remote_and_come_back(data, tmp_path):
    add_case(data, 4)
    data.commit("second")
    data.store.add_remote("backup", str(tmp_path / "backup"))
    data.push()
    other = VersionedData.create(tmp_path / "other")
    other.store.add_remote("backup", str(tmp_path / "backup"))
    assert [one.name for one in other.pull()] == ["v1", "v2"]
    assert files_of(other.root) == files_of(data.root)
    other.check_out("v1")
    assert len(other.description().cases) == 4
    assert other.pull() == ()
    other.check_out("latest")
    write_label(other.root / "labels" / "case_00.nii.gz", 0, shift=1)
    other.commit("third, there")
    other.push()
    add_case(data, 5)
    data.commit("third, here")
    for move in (data.push, data.pull):
        with pytest.raises(VersionError, match="3 here and 3 there, of which 2 are the same"):
            move()


def test_a_remote_that_is_away_is_told(data, tmp_path):
    with pytest.raises(VersionError, match="named before it is used"):
        data.push()
    data.store.add_remote("disk", str(tmp_path / "disk"))
    with pytest.raises(VersionError, match="The remote disk holds versions"):
        data.pull()
    (tmp_path / "disk").rmdir()
    for move in (data.push, data.pull):
        with pytest.raises(VersionError, match=r"disk can be reached at .*nothing at that place"):
            move()


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


def test_a_bundle_finds_its_version_and_what_changed_since(data, tmp_path):
    names = tuple(case.id for case in data.description().cases)
    model = small_bundle(tmp_path / "bundle", learned=names)
    digest = data.manifest(data.find("v1")).digest
    origin = model.provenance.model_copy(update={"data_version": digest})
    assert data.standing(origin).matches
    write_label(data.root / "labels" / "case_01.nii.gz", 1, shift=1)
    found = data.standing(origin)
    assert found.version == data.versions()[0]
    assert (found.changed, found.missing, found.matches) == (("case_01",), (), False)
    unknown = data.standing(model.provenance.model_copy(update={"data_version": "f" * 64}))
    assert unknown.version is None
    assert not unknown.matches


@pytest.mark.data
def test_a_data_set_of_180_cases(data_root, tmp_path):
    shutil.copytree(data_root / "Task04_Hippocampus", tmp_path / "data")
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    data = VersionedData.create(tmp_path / "data")
    _, changes = data.commit("all")
    assert len(changes.added) >= 180
    assert data.diff("v1", "now").is_empty
