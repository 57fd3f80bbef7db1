"""A job's way through a worker: stages, attempts, the fence, and processes that die."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_service import Finisher, phantom_nifti
from sqlalchemy import func, select

from medseg.errors import InvalidSettings, JobFailed, MedsegError
from medseg.service.attempt import CaseFault, Child, SlotEnds
from medseg.service.child import answer
from medseg.service.database import Database, instances, results
from medseg.service.heartbeat import beat, forget, leave, living, take_lost
from medseg.service.publish import publish, working_folder
from medseg.service.service import Service
from medseg.service.settings import Limits
from medseg.service.supervise import Slots, commands_of, secrets_of
from medseg.service.worker import default_slot, only_one
from medseg.service.workflow import Slot

FACTS = {
    "volumes_ml": {}, "quality": {}, "labels": [], "remarks": [], "files": [], "grid_size": [],
    "spacing_mm": [], "size_bytes": 5,
}  # fmt: skip


class FakeChild:
    """Gives what it was told to give."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def ask(self, stage: str, work: dict[str, Any], **words: Any) -> dict[str, Any]:
        self.asked.append((stage, work))
        found = self.answers.pop(0) if self.answers else FACTS
        if isinstance(found, Exception):
            raise found
        words["told"](0.5)
        return dict(found)


@pytest.fixture
def job(service: Service, tmp_path: Path) -> str:
    file = service.held.incoming / "x"
    file.write_bytes(phantom_nifti(tmp_path / "x.nii.gz").read_bytes())
    digest = service.held.put_upload(file, "x.nii.gz", "test")
    return str(service.submit_upload(digest, sender="test")["id"])


def slot_of(service: Service, *answers: Any, attempts: int = 2) -> Slot:
    return Slot(
        service.database, service.held, service.jobs, FakeChild(*answers),  # type: ignore[arg-type]
        Limits(attempts=attempts), service.settings.data,
    )  # fmt: skip


def test_all_stages_lead_to_a_result(service: Service, job: str) -> None:
    slot = slot_of(service)
    assert slot.receive(job) == {"what": "ok", "last": False}
    for stage in ("assemble", "segment", "encode"):
        given = slot.stage(job, stage, False)  # type: ignore[arg-type]
        assert given["what"] == "ok"
        assert service.jobs.get(job)["stage"] == stage
    work = slot.child.asked[0][1]  # type: ignore[attr-defined]
    assert work["upload"].endswith(".nii.gz")
    Path(work["out"]).mkdir()
    assert slot.deliver(job, given["facts"], {"segment": 1.0}, False) == {"what": "ended"}
    assert service.jobs.get(job)["state"] == "done"


def test_the_cases_own_fault_is_not_tried_again(service: Service, job: str) -> None:
    fault = CaseFault({"code": "dicom-gap", "rule": "A.", "received": "b", "cure": "C."})
    slot = slot_of(service, fault)
    slot.receive(job)
    assert slot.stage(job, "assemble", False) == {"what": "ended"}
    told = service.jobs.get(job)
    assert (told["state"], told["error_code"]) == ("failed", "dicom-gap")
    assert told["error_message"] == "A. Received: b. C."


def test_crashes_are_tried_again_and_then_buried(service: Service, job: str) -> None:
    slot = slot_of(service, JobFailed("Died."), JobFailed("Died again."))
    first = slot.receive(job)
    assert slot.stage(job, "assemble", first["last"]) == {"what": "again"}
    assert service.jobs.get(job)["state"] == "queued"
    second = slot.receive(job)
    assert second["last"]
    assert slot.stage(job, "assemble", second["last"]) == {"what": "ended"}
    told = service.jobs.get(job)
    assert (told["state"], told["error_message"], told["attempts"]) == ("dead", "Died again.", 2)


def test_a_cancelled_job_is_left_alone(service: Service, job: str) -> None:
    slot = slot_of(service, JobFailed("Killed."))
    slot.receive(job)
    service.jobs.cancel(job)
    assert slot.stage(job, "assemble", False) == {"what": "ended"}
    assert slot.receive(job) == {"what": "ended"}
    assert slot.deliver(job, FACTS, {}, False) == {"what": "ended"}
    assert service.jobs.get(job)["state"] == "cancelled"


def test_a_result_whose_files_are_gone_is_made_again(service: Service, job: str) -> None:
    slot = slot_of(service)
    slot.receive(job)
    assert slot.deliver(job, FACTS, {}, False) == {"what": "again"}
    assert service.jobs.get(job)["state"] == "queued"
    slot.receive(job)
    assert slot.deliver(job, FACTS, {}, True) == {"what": "ended"}
    assert service.jobs.get(job)["state"] == "dead"


def test_nothing_becomes_known_of_a_study_that_was_deleted(
    service: Service, write_study: Callable[..., list[Path]]
) -> None:
    from test_held import put

    held = [put(service.held, file) for file in write_study()]
    job = service.submit_series(held[0].series_uid, sender="test")
    slot = slot_of(service)
    slot.receive(job["id"])
    written = service.settings.data / working_folder(job["key"], job["id"])
    written.mkdir()
    service.held.delete_study(held[0].study_uid)
    assert slot.deliver(job["id"], FACTS, {}, False) == {"what": "ended"}
    told = service.jobs.get(job["id"])
    assert (told["state"], told["error_message"]) == ("cancelled", "Its study was deleted.")
    assert service.jobs.result_of(told) is None
    assert not written.exists()


def test_a_result_that_came_back_from_elsewhere_is_ours_again(
    service: Service, finisher: Finisher, write_study: Callable[..., list[Path]], tmp_path: Path
) -> None:
    from test_held import put

    files = write_study()
    study = {(one := put(service.held, file)).series_uid: one.study_uid for file in files}
    ((series_uid, study_uid),) = study.items()
    job = finisher.finish(service.submit_series(series_uid, sender="test")["id"])
    (seg,) = [one for one in service.held.instances_of() if one["result_key"]]
    copy = tmp_path / "seg.dcm"
    copy.write_bytes(service.held.path_of(seg).read_bytes())
    service.held.delete_study(study_uid)
    for file in (*files, copy):
        assert put(service.held, file).outcome == "stored"
    again = service.submit_series(series_uid, sender="test")
    assert again["id"] != job["id"]
    finisher.finish(again["id"])
    (other,) = service.held.instances_of(sop_uid=seg["sop_uid"])
    assert other["result_key"] == again["key"] == job["key"]
    assert service.held.path_of(other).is_file()
    assert len(list(service.settings.data.glob("instances/*/*.dcm"))) == len(files)


def test_a_result_is_published_once(
    service: Service, finisher: Finisher, write_study: Callable[..., list[Path]]
) -> None:
    from test_held import put

    uid = {put(service.held, file).series_uid for file in write_study()}.pop()
    job = service.submit_series(uid, sender="test")
    done = finisher.finish(job["id"])
    data = service.settings.data
    written = data / working_folder(done["key"], done["id"])
    written.mkdir()
    (written / "seg.dcm").write_bytes(b"other")
    assert not publish(service.database, service.jobs, data, done, FACTS, {})
    assert not written.exists()
    with service.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(results)).scalar_one() == 1
        of_result = select(func.count()).where(instances.c.result_key == done["key"])
        assert connection.execute(of_result).scalar_one() == 1


def test_heartbeats_tell_who_is_lost(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    for slot in ("a", "b", "c"):
        beat(database, slot)
    assert living(database) == 3
    assert take_lost(database, "a") == []
    leave(database, "b")
    assert living(database) == 2
    assert take_lost(database, "a") == ["b"]
    assert take_lost(database, "c") == []
    leave(database, "b")  # as if "a" had died too, and time had passed
    assert take_lost(database, "c") == ["b"]
    forget(database, ["b"])
    leave(database, "b")
    assert take_lost(database, "a") == []
    beat(database, "b")
    assert living(database) == 3


def test_two_processes_never_share_a_name(tmp_path: Path) -> None:
    name = default_slot(3)
    assert name.endswith("-3")
    with only_one(tmp_path, name):
        with pytest.raises(InvalidSettings, match="another process has"), only_one(tmp_path, name):
            pass
        with only_one(tmp_path, "../../other"):
            pass
    with only_one(tmp_path, name):
        pass


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (None, {"done": {"x": 1}}),
        (MedsegError("A.", received="b", cure="C."), {
            "fault": {"code": "medseg", "rule": "A.", "received": "b", "cure": "C."}}),
        (MedsegError("/data/x/ab/c.nii.gz must be whole.", received="3/4 of /tmp/a"), {
            "fault": {"code": "medseg", "rule": "c.nii.gz must be whole.",
                      "received": "3/4 of a", "cure": ""}}),
        (ValueError("Phantom^One"), {"crash": "ValueError"}),
        (MemoryError(), {"fault": {"code": "memory-too-small"}}),
    ],
)  # fmt: skip
def test_a_child_tells_faults_from_crashes(
    raised: Exception | None, told: dict[str, Any], tmp_path: Path
) -> None:
    class Stages:
        def assemble(self, work: Any, progress: Callable[[float], None]) -> dict[str, int]:
            progress(0.5)
            if raised is not None:
                raise raised
            return {"x": 1}

    said: list[dict[str, Any]] = []
    work = {"key": "k", "bundle": "/b", "out": str(tmp_path)}
    answer({"stage": "assemble", "work": work, "memory_bytes": 1 << 30}, Stages(), said.append)
    assert said[0] == {"progress": 0.5}
    if "fault" in told and len(told["fault"]) == 1:
        assert said[1]["fault"]["code"] == told["fault"]["code"]
    else:
        assert said[1] == told
    with pytest.raises(ValueError, match="no such stage"):
        answer({"stage": "__init__", "work": work}, Stages(), said.append)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """A child process that does what its request's `key` says."""
    script = tmp_path / "child.py"
    script.write_text(
        "import json, os, signal, sys, time\n"
        "print(json.dumps({'ready': 1}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    key = json.loads(line)['work']['key']\n"
        "    if key == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if key == 'sleep': time.sleep(60)\n"
        "    if key == 'crash': print(json.dumps({'crash': 'OSError'}), flush=True); continue\n"
        "    print(json.dumps({'progress': 0.5}), flush=True)\n"
        "    print(json.dumps({'done': {'pid': os.getpid()}}), flush=True)\n"
    )
    popen = subprocess.Popen

    def start(command: list[str], **words: Any) -> Any:
        assert command[2] == "medseg.service.child"
        return popen([sys.executable, str(script)], **words)

    monkeypatch.setattr("medseg.service.attempt.subprocess.Popen", start)
    return Child(1 << 30)


def test_a_child_lives_on_from_job_to_job(child: Child) -> None:
    told: list[float] = []
    first = child.ask("assemble", {"key": "x"}, seconds=10, told=told.append)
    assert child.ask("segment", {"key": "x"}, seconds=10) == first
    assert told == [0.5]
    assert child.pid == first["pid"]
    child.kill()
    assert child.pid is None


@pytest.mark.parametrize(
    ("key", "seconds", "words"),
    [
        ("die", 10.0, "signal 9"),
        ("sleep", 0.2, "more seconds than limits.job_seconds"),
        ("crash", 10.0, "OSError in the process"),
    ],
)
def test_a_child_that_fails_is_started_again(
    child: Child, key: str, seconds: float, words: str
) -> None:
    with pytest.raises(JobFailed, match=words):
        child.ask("assemble", {"key": key}, seconds=seconds)
    assert child.ask("assemble", {"key": "x"}, seconds=10)["pid"] == child.pid
    child.kill()


def test_a_job_that_was_ended_ends_its_child(child: Child) -> None:
    with pytest.raises(JobFailed, match="ended meanwhile"):
        child.ask("assemble", {"key": "sleep"}, seconds=60, is_ended=lambda: True)
    assert child.pid is None


def test_a_slot_that_ends_is_no_failure_of_its_job(child: Child) -> None:
    child.start()
    closer = threading.Timer(0.3, child.close)
    closer.start()
    with pytest.raises(SlotEnds):
        child.ask("assemble", {"key": "sleep"}, seconds=60)
    closer.join()
    with pytest.raises(SlotEnds):
        child.ask("assemble", {"key": "x"}, seconds=60)
    assert child.pid is None


def test_a_slot_is_told_of_the_database_where_nobody_else_can_read(
    service: Service, tmp_path: Path
) -> None:
    url = "postgresql+psycopg://medseg:secret@db/medseg"
    settings = service.settings.model_copy(update={"database_url": url})
    (words,) = commands_of(settings, None).values()
    assert "secret" not in " ".join(words)
    found = tmp_path / "found"
    script = f"import os; open({str(found)!r}, 'w').write(os.environ['MEDSEG_DATABASE_URL'])"
    slots = Slots({"a": [sys.executable, "-c", script]}, secrets_of(settings))
    slots.look()
    until = time.monotonic() + 10
    while not (found.is_file() and found.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    slots.end()
    assert found.read_text() == url


def test_slots_are_started_again_under_their_names() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    slots, stop = Slots({"a": command, "b": command}), threading.Event()
    watcher = threading.Thread(target=slots.watch, args=(stop,))
    watcher.start()
    try:
        until = time.monotonic() + 10
        while len(slots.pids) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        before = slots.pids
        os.kill(before["a"], signal.SIGKILL)
        while slots.pids["a"] == before["a"] and time.monotonic() < until:
            time.sleep(0.02)
        after = slots.pids
        assert after["a"] != before["a"]
        assert after["b"] == before["b"]
    finally:
        stop.set()
        watcher.join(10)
    with pytest.raises(ProcessLookupError):
        os.kill(after["b"], 0)
