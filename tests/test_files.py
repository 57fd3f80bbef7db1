import stat
from pathlib import Path

import pytest

from medseg.errors import CannotWrite
from medseg.files import atomic_file, atomic_folder, sha256, write_text


def test_a_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.json", "{}")
    assert (tmp_path / "deep" / "a.json").read_text() == "{}"
    assert stat.S_IMODE((tmp_path / "deep" / "a.json").stat().st_mode) == 0o644


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as temporary:
        temporary.write_text("half")
        assert temporary.name.endswith(".nii.gz")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_another_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    for text in ("one", "two"):
        with atomic_folder(folder) as temporary:
            (temporary / "a").write_text(text)
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(folder) as temporary:
        (temporary / "a").write_text("three")
        raise RuntimeError("stop")
    assert (folder / "a").read_text() == "two"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(CannotWrite, match=r"all of it must fit.(.|\s)*No space left"),
        atomic_file(tmp_path / "a"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CannotWrite, match="must be a place that can be written"):
        write_text(tmp_path / "out" / "a.json", "{}")


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_a_full_disk_behind_another_error_is_still_one_sentence(tmp_path: Path) -> None:
    """As pydicom does it: the same type raised again, with a traceback for its text."""
    with pytest.raises(CannotWrite, match=r"Received: No space left on device\."):  # noqa: SIM117
        with atomic_file(tmp_path / "mask.dcm"):
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise OSError("With tag (5200,9230)\nTraceback ...") from error
    assert not list(tmp_path.iterdir())


def test_numpy_tells_of_a_full_disk_in_its_own_way(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match=r"Received: No space left on device\."):  # noqa: SIM117
        with atomic_folder(tmp_path / "case"):
            raise OSError("196608 requested and 14272 written")
    assert not list(tmp_path.iterdir())
