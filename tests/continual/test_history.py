"""A history is one line of commits, needs no git program, and survives what a kill leaves."""

import multiprocessing
import os
import time

import pytest

from medseg.continual.history import History
from medseg.errors import VersionError


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    return History.create(tmp_path / "data")


def commit(history, text, name="a.json"):
    (history.root / name).write_text(text)
    return history.commit([name], f"why {text}")


def test_versions_are_counted_and_keep_their_files(history):
    one, two = commit(history, "1"), commit(history, "2")
    assert [v.name for v in history.versions()] == ["v1", "v2"]
    assert one.message == "why 1"
    assert history.read(one, "a.json") == b"1"
    assert history.read(two, "a.json") == b"2"


def test_nobody_need_have_told_git_a_name(history):
    assert commit(history, "1").author == "medseg <medseg@localhost>"


def test_a_name_that_git_knows_is_used(history, tmp_path):
    (tmp_path / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    assert commit(history, "1").author == "Ada <ada@example.org>"


def test_a_file_that_is_gone_is_taken_out(history):
    commit(history, "1")
    commit(history, "1", "b.json")
    (history.root / "a.json").unlink()
    last = history.commit(["a.json", "b.json"], "without a")
    assert set(history.files(last)) == {"b.json"}
    with pytest.raises(VersionError, match=r"has a file a\.json"):
        history.read(last, "a.json")


def test_a_history_goes_on_elsewhere(history, tmp_path):
    commit(history, "1")
    history.write_out(tmp_path / "one")
    (tmp_path / "other").mkdir()
    other = History.create(tmp_path / "other")
    found = other.outside(tmp_path / "one")
    assert found == history.versions()
    assert other.versions() == ()
    other.take_over(found)
    assert other.versions() == history.versions()
    assert list((tmp_path / "other").iterdir()) == [tmp_path / "other" / ".git"]


def test_a_broken_file_is_no_history(history, tmp_path):
    (tmp_path / "bad").write_bytes(b"# v2 git bundle\nrubbish")
    with pytest.raises(VersionError, match="a history that medseg wrote"):
        history.outside(tmp_path / "bad")


def test_locks_of_a_killed_process_do_not_stay(history):
    commit(history, "1")
    lock = history.root / ".git" / "index.lock"
    lock.touch()
    old = time.time() - 60
    os.utime(lock, (old, old))
    assert commit(history, "2").name == "v2"


def _hold(root, ready, done):
    with History(root).alone():
        ready.set()
        done.wait(20)


def test_two_processes_do_not_work_at_once(history):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(history.root, ready, done))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(VersionError, match="another one at work"), history.alone():
            pass
    finally:
        done.set()
        holder.join(20)
    with history.alone():
        pass


def test_a_folder_without_one_and_a_broken_one_are_told(tmp_path):
    with pytest.raises(VersionError, match="medseg version init"):
        History(tmp_path)
    (tmp_path / ".git").mkdir()
    with pytest.raises(VersionError, match="sound git repository"):
        History(tmp_path).versions()
