"""Digests of files: as sha256sum gives them, and not remembered beyond what is certain."""

import hashlib
import os
import time

from medseg.dataset.contents import Contents


def aged(path):
    """Let a file have been there for a while."""
    old = time.time_ns() - 10_000_000_000
    os.utime(path, ns=(old, old))


def test_a_file_has_its_sha256_and_a_missing_one_none(tmp_path):
    (tmp_path / "a").write_bytes(b"bytes")
    found = Contents().digests([tmp_path / "a", tmp_path / "b"])
    assert found[tmp_path / "a"] == hashlib.sha256(b"bytes").hexdigest()
    assert found[tmp_path / "b"] == ""


def test_a_folder_has_a_digest_over_names_and_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(b"x")
    first = Contents().digests([tmp_path / "one", tmp_path / "two"])
    assert first[tmp_path / "one"] == first[tmp_path / "two"]
    (tmp_path / "two" / "1.dcm").rename(tmp_path / "two" / "2.dcm")
    assert Contents().digests([tmp_path / "two"])[tmp_path / "two"] != first[tmp_path / "one"]


def test_a_byte_that_changed_in_the_same_second_is_seen(tmp_path):
    memory, path = tmp_path / "memory.json", tmp_path / "a"
    path.write_bytes(b"one")
    before = Contents(memory).digests([path])[path]
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Contents(memory).digests([path])[path] != before


def test_a_file_that_rested_is_not_read_again(tmp_path, monkeypatch):
    memory, path = tmp_path / "memory.json", tmp_path / "a"
    path.write_bytes(b"one")
    time.sleep(1.05)  # its entry on the disk cannot be set back, so it has to rest
    digest = Contents(memory).digests([path])[path]
    monkeypatch.setattr("medseg.dataset.contents.sha256", lambda _: "read again")
    assert Contents(memory).digests([path])[path] == digest
    assert Contents(memory).digests([path], verify=True)[path] == "read again"


def test_a_broken_memory_is_forgotten(tmp_path):
    (tmp_path / "memory.json").write_text("{half")
    (tmp_path / "a").write_bytes(b"bytes")
    found = Contents(tmp_path / "memory.json").digests([tmp_path / "a"])
    assert found[tmp_path / "a"] == hashlib.sha256(b"bytes").hexdigest()
