"""Files are kept by content and come back; a remote that cannot be used is told in one sentence."""

import os

import pytest

from medseg.continual.history import History
from medseg.continual.versions import DataStore
from medseg.errors import MissingDependency, VersionError


@pytest.fixture
def store(tmp_path):
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a").write_bytes(b"one")
    (root / "images" / "b").write_bytes(b"two")
    History.create(root)
    return DataStore.create(root)


def test_what_was_added_comes_back(store):
    store.add(["images"])
    assert store.tracked == ("images",)
    (store.root / "images" / "a").unlink()
    (store.root / "images" / "b").write_bytes(b"other")
    store.check_out()
    assert (store.root / "images" / "a").read_bytes() == b"one"
    assert (store.root / "images" / "b").read_bytes() == b"two"


def test_a_change_with_the_old_time_is_kept_when_it_is_named(store):
    store.add(["images"])
    path = store.root / "images" / "a"
    before = (store.root / "images.dvc").read_bytes()
    stat = path.stat()
    path.write_bytes(b"ONE")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    store.add(["images"], [path])
    assert (store.root / "images.dvc").read_bytes() != before


def test_what_is_no_longer_named_is_forgotten(store):
    (store.root / "extra.nii").write_bytes(b"x")
    store.add(["images", "extra.nii"])
    store.add(["images"])
    assert store.tracked == ("images",)
    assert "extra.nii.dvc" not in store.small_files


def test_remotes_are_listed_the_last_named_first(store, tmp_path):
    assert store.remotes() == {}
    store.add_remote("b", str(tmp_path / "b"))
    store.add_remote("a", str(tmp_path / "a"))
    assert list(store.remotes().items()) == [
        ("a", str(tmp_path / "a")), ("b", str(tmp_path / "b")),
    ]  # fmt: skip
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize(
    ("name", "url", "match"),
    [("a b", "/tmp/x", "letters, digits"), ("a", "ftp://x/y", "s3://BUCKET"),
     ("a", "/nowhere/at/all", "can be reached")],
)  # fmt: skip
def test_a_remote_that_is_none_is_refused(store, name, url, match):
    with pytest.raises(VersionError, match=match):
        store.add_remote(name, url)
    assert store.remotes() == {}


def test_a_remote_without_its_package_names_it(store, tmp_path):
    store.add_remote("cloud", "s3://bucket/folder")
    try:
        import dvc_s3  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependency, match=r'pip install "dvc\[s3\]"'):
            store.pull_history("cloud", lambda _: None)


def test_half_a_list_of_locks_is_mended(store):
    store.add(["images"])
    (store.root / ".dvc" / "tmp" / "rwlock").write_text('{"write": {')
    store.add(["images"])


def test_a_folder_without_versions_is_told(tmp_path):
    with pytest.raises(VersionError, match="medseg version init"):
        DataStore(tmp_path)
