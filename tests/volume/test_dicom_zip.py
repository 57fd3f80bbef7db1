"""Zips that are whole, and zips that are not what they should be."""

import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import CannotWrite, UnreadableFile
from medseg.volume.dicom_zip import as_folder, is_zip, unzipped


def make_zip(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir(exist_ok=True)
    return folder


def test_files_come_out_in_order_and_folders_stay_apart(tmp_path: Path) -> None:
    members = {"b/2": b"two", "a/1.dcm": b"one", "b/3": b"three", "m.nii.gz": b"four"}
    files = unzipped(make_zip(tmp_path / "x.zip", members), into(tmp_path))
    assert [file.read_bytes() for file in files] == list(members.values())
    assert files[0].parent == files[2].parent != files[1].parent
    assert [file.suffix for file in files] == ["", ".dcm", "", ".gz"]


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..\\..\\evil", "C:\\evil", "a/../../../evil", "é/ü"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = into(tmp_path)
    (file,) = unzipped(make_zip(tmp_path / "x.zip", {name: b"x"}), folder)
    assert file.resolve().is_relative_to(folder.resolve())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "x.zip", file]


def test_links_folders_and_what_computers_write_are_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("folder/", "__MACOSX/._1", "a/.DS_Store", "a/1"):
            archive.writestr(name, b"")
    assert len(unzipped(tmp_path / "x.zip", into(tmp_path))) == 1


@pytest.mark.parametrize(
    ("bounds", "what"), [({"most_bytes": 1_000_000}, "more bytes"), ({"most_files": 1}, "2 files")]
)
def test_bombs_are_refused_and_leave_nothing(
    tmp_path: Path, bounds: dict[str, int], what: str
) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": b"1", "b": bytes(20_000_000)})
    assert path.stat().st_size < 30_000
    with pytest.raises(UnreadableFile, match=what):
        unzipped(path, into(tmp_path), **bounds)
    assert not any(path.is_file() for path in into(tmp_path).rglob("*"))


def test_sizes_in_the_directory_are_not_believed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": bytes(5_000_000)})
    content = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), b"\x01\x00\x00\x00")
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"x\.zip"):
        unzipped(path, into(tmp_path), most_bytes=1000)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": b"secret"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="encrypted"):
        unzipped(path, into(tmp_path))


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(UnreadableFile, match="other than deflate"):
        unzipped(make_zip(tmp_path / "x.zip", {"a": b"x"}, kind), into(tmp_path))


def test_a_zip_within_a_zip_stays_one(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"a": bytes(1000)})
    (file,) = unzipped(
        make_zip(tmp_path / "x.zip", {"inner.zip": inner.read_bytes()}), into(tmp_path)
    )
    assert is_zip(file)
    assert file.read_bytes() == inner.read_bytes()


@given(st.data())
def test_a_zip_that_was_changed_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray(make_zip(folder / "x.zip", {"a/1": b"12345" * 9, "b": b"6"}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x.zip").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        files = unzipped(folder / "x.zip", into(folder), most_bytes=10_000)
    except UnreadableFile:
        files = []
    left = [path for path in into(folder).rglob("*") if path.is_file()]
    assert sorted(files) == sorted(left)


def test_what_is_no_zip_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no zip")
    assert not is_zip(tmp_path / "x")
    assert not is_zip(tmp_path / "missing")
    assert not is_zip(tmp_path)
    with pytest.raises(UnreadableFile, match="not a zip"):
        unzipped(tmp_path / "x", into(tmp_path))


def test_a_ratio_that_no_image_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.volume.dicom_zip._ANY_RATIO_BYTES", 1000)
    path = make_zip(tmp_path / "x.zip", {"a": bytes(5_000_000)})
    assert path.stat().st_size * 100 < 5_000_000
    with pytest.raises(UnreadableFile, match="more bytes"):
        unzipped(path, into(tmp_path))


def test_a_full_disk_is_not_the_fault_of_the_zip(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a": b"x"})
    with pytest.raises(CannotWrite, match="room to unpack"):
        unzipped(path, tmp_path / "missing")


def test_a_zip_is_a_folder_of_its_name_for_a_while(tmp_path: Path) -> None:
    one = make_zip(tmp_path / "My study.zip", {"a/1": b"1", "a/2": b"2"})
    with as_folder(one) as folder:
        assert folder.name == "My_study"
        assert [file.read_bytes() for file in sorted(folder.iterdir())] == [b"1", b"2"]
    assert not folder.exists()
    with as_folder(make_zip(tmp_path / "x.zip", {"a/1": b"1", "b/2": b"2"})) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["x-1", "x-2"]
    with as_folder(make_zip(tmp_path / "x.zip", {})) as folder:
        assert list(folder.iterdir()) == []
    with as_folder(tmp_path) as folder:
        assert folder == tmp_path
    with as_folder(tmp_path / "missing") as folder:
        assert folder == tmp_path / "missing"
