"""What the service does by itself: nothing that fails once is forgotten."""

import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from small_service import Finisher, open_tiny_service

from medseg.service.loops import Loop, remember_forgotten, start, submit_due
from medseg.service.service import Service

Write = Callable[..., list[Path]]


def hold(service: Service, files: list[Path]) -> str:
    """The series of files that are held now."""
    for file in files:
        place = service.held.incoming / file.name
        place.write_bytes(file.read_bytes())
        stored = service.held.put(place, "test")
        service.arrived(stored, 0.0)
    return stored.series_uid


def test_a_loop_goes_on_whatever_happens() -> None:
    stop, done = threading.Event(), []

    def work() -> None:
        done.append(1)
        if len(done) == 5:
            stop.set()
        raise [OSError, ValueError, RuntimeError, KeyError][len(done) % 4]("x")

    (thread,) = start((Loop("test", work, 0.0),), stop)
    thread.join(timeout=20)
    assert len(done) == 5


def test_a_series_that_cannot_be_queued_now_is_queued_later_and_others_are_not_lost(
    tmp_path: Path, bundle_folder: Path, write_study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.service.loops.MEND_SECONDS", 0.0)
    service = open_tiny_service(tmp_path / "held", bundle_folder, limits={"queued_jobs": 1})
    uids = {hold(service, write_study(name, seed=n)) for n, name in enumerate("abc")}
    assert submit_due(service) == 1
    assert len(service.settling) == 2
    for _ in range(2):
        assert submit_due(service) == 0
        (job,) = service.jobs.newest(states=("queued",))
        service.jobs.cancel(job["id"])
        assert submit_due(service) == 1
    assert {job["series_uid"] for job in service.jobs.newest()} == uids
    assert len(service.settling) == 0
    service.close()


def test_a_series_that_no_rule_speaks_of_is_noted_and_no_job(
    service: Service, write_study: Write
) -> None:
    uid = hold(service, write_study(modality="CT"))
    assert submit_due(service) == 0
    assert service.jobs.newest() == []
    (note,) = service.audit.of("series", uid)
    assert (note["action"], note["outcome"]) == ("refused", "no rule")


def test_segmentations_are_never_segmented(
    service: Service, finisher: Finisher, write_study: Write
) -> None:
    files = write_study()
    hold(service, files)
    assert submit_due(service) == 1
    (job,) = service.jobs.newest()
    finisher.finish(job["id"])
    assert remember_forgotten(service) == 0
    (seg,) = (service.settings.data / "results").rglob("seg.dcm")
    foreign = pydicom.dcmread(seg)
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    foreign.SeriesInstanceUID = "2.25.2"
    foreign.save_as(seg.with_name("foreign.dcm"))
    uid = hold(service, [seg.with_name("foreign.dcm")])
    assert submit_due(service) == 0
    assert service.audit.of("series", uid) == []


def test_a_restart_finds_what_it_forgot(
    tmp_path: Path, bundle_folder: Path, write_study: Write
) -> None:
    before = open_tiny_service(tmp_path / "held", bundle_folder, incomplete_seconds=0.0)
    uid = hold(before, write_study())
    before.close()
    after = open_tiny_service(tmp_path / "held", bundle_folder, incomplete_seconds=0.0)
    assert submit_due(after) == 0
    assert remember_forgotten(after) == 1
    assert submit_due(after) == 1
    assert [job["series_uid"] for job in after.jobs.newest()] == [uid]
    after.close()
