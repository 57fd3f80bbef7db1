"""Keyed hashes of UIDs."""

import stat
from pathlib import Path

import pytest

from medseg.errors import CannotWrite, UnreadableFile
from medseg.service.pseudonyms import Pseudonyms


def test_one_folder_has_one_secret_that_only_its_owner_reads(tmp_path: Path) -> None:
    data = tmp_path / "held"
    first, second = Pseudonyms.of_folder(data), Pseudonyms.of_folder(data)
    assert first.hashed("1.2.3") == second.hashed("1.2.3")
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert [path.name for path in data.iterdir()] == ["secret"]


def test_another_secret_gives_other_words_that_do_not_hold_the_uid() -> None:
    words = {Pseudonyms.passing().hashed("1.2.840.1") for _ in range(20)}
    assert len(words) == 20
    assert all(len(word) == 20 and "840" not in word.split(".") for word in words)


def test_a_damaged_secret_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(UnreadableFile, match="has 32 bytes"):
        Pseudonyms.of_folder(tmp_path)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "held").write_text("a file")
    with pytest.raises(CannotWrite, match="holds a secret"):
        Pseudonyms.of_folder(tmp_path / "held")


def test_a_short_secret_is_none() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Pseudonyms(b"short")
