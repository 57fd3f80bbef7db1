"""Versions go to a remote and come back whole, in one line; a remote that is away is told."""

import shutil

import pytest
from looping import add_case, files_of, write_data, write_label

from medseg.continual.sharing import pull, push
from medseg.continual.versioned import VersionedData
from medseg.errors import VersionError


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


def test_all_versions_go_to_a_remote_and_come_back(data, tmp_path):
    add_case(data, 4)
    data.commit("second")
    data.store.add_remote("backup", str(tmp_path / "backup"))
    push(data)
    other = VersionedData.create(tmp_path / "other")
    other.store.add_remote("backup", str(tmp_path / "backup"))
    assert [one.name for one in pull(other)] == ["v1", "v2"]
    assert files_of(other.root) == files_of(data.root)
    other.check_out("v1")
    assert len(other.description().cases) == 4
    assert pull(other) == ()
    other.check_out("latest")
    write_label(other.root / "labels" / "case_00.nii.gz", 0, shift=1)
    other.commit("third, there")
    push(other)
    add_case(data, 5)
    data.commit("third, here")
    for move in (push, pull):
        with pytest.raises(VersionError, match="3 here and 3 there, of which 2 are the same"):
            move(data)


def test_a_remote_that_is_away_is_told(data, tmp_path):
    with pytest.raises(VersionError, match="named before it is used"):
        push(data)
    data.store.add_remote("disk", str(tmp_path / "disk"))
    with pytest.raises(VersionError, match="The remote disk holds versions"):
        pull(data)
    (tmp_path / "disk").rmdir()
    for move in (push, pull):
        with pytest.raises(VersionError, match=r"disk can be reached at .*nothing at that place"):
            move(data)


def test_content_that_is_lost_is_noticed(data, tmp_path):
    data.store.add_remote("disk", str(tmp_path / "disk"))
    push(data)
    for path in (tmp_path / "disk" / "files").rglob("*"):
        if path.is_file() and path.suffix != ".dir":
            path.unlink()
            break
    other = VersionedData.create(tmp_path / "other")
    other.store.add_remote("disk", str(tmp_path / "disk"))
    with pytest.raises(VersionError, match="Content of a version is here or in the remote"):
        pull(other)
