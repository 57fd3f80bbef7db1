"""A zip becomes files within bounds."""

import stat
import zipfile
from pathlib import Path

import pytest

from medseg.errors import UnreadableFile
from medseg.volume.dicom_zip import is_zip, unzipped


def pack(path: Path, **contents: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_folders_stay_apart_and_names_are_ours(tmp_path: Path) -> None:
    packed = pack(
        tmp_path / "x.zip",
        **{"a/1.dcm": b"1", "b/1.dcm": b"2", "a/2": b"3", "../../up.nii.gz": b"4", "/abs": b"5",
           "__MACOSX/a": b"6", "a/.DS_Store": b"7", "dir/": b"", "c\\d\\e.nii": b"8"},
    )  # fmt: skip
    into = tmp_path / "into"
    into.mkdir()
    files = unzipped(packed, into)
    assert [file.read_bytes() for file in files] == [b"1", b"2", b"3", b"4", b"5", b"8"]
    assert files[0].parent == files[2].parent != files[1].parent
    assert all(into in file.parents for file in files)
    assert [file.name[6:] for file in files] == [".dcm", ".dcm", "", ".nii.gz", "", ".nii"]


def test_links_are_left_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("file", b"1")
    assert [file.read_bytes() for file in unzipped(tmp_path / "x.zip", tmp_path)] == [b"1"]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [({"most_bytes": 1_000_000}, "more bytes than it may hold"), ({"most_files": 1}, "2 files")],
)
def test_bombs_are_refused_and_leave_nothing(
    tmp_path: Path, bounds: dict[str, int], words: str
) -> None:
    packed = pack(tmp_path / "x.zip", a=bytes(600_000), b=bytes(600_000))
    assert packed.stat().st_size < 5_000
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(UnreadableFile, match=words):
        unzipped(packed, into, **bounds)
    assert [path for path in into.rglob("*") if path.is_file()] == []


def test_broken_and_encrypted_zips(tmp_path: Path) -> None:
    packed = pack(tmp_path / "x.zip", a=bytes(range(256)) * 20)
    content = bytearray(packed.read_bytes())
    for cut in (10, len(content) // 2, len(content) - 4):
        packed.write_bytes(content[:cut])
        with pytest.raises(UnreadableFile, match="A zip is whole"):
            unzipped(packed, tmp_path)
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(content)
    with pytest.raises(UnreadableFile, match="an encrypted file in it"):
        unzipped(packed, tmp_path)


def test_what_a_zip_is(tmp_path: Path) -> None:
    assert is_zip(pack(tmp_path / "x.zip", a=b"1"))
    assert is_zip(pack(tmp_path / "empty.zip"))
    (tmp_path / "x").write_bytes(b"PKx")
    assert not is_zip(tmp_path / "x")
    assert not is_zip(tmp_path)
