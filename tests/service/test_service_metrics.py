"""Numbers for Prometheus."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from medseg.service.database import Database, conflicts, jobs, now
from medseg.service.heartbeat import beat
from medseg.service.metrics import Metrics


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")


def add_job(database: Database, name: str, state: str, **changed: Any) -> None:
    values = {
        "id": name, "key": name, "input_digest": "", "model": "m", "bundle_path": "",
        "bundle_digest": "", "options": {}, "destinations": [], "rule": "", "priority": 1,
        "sender": "anybody", "state": state, "stage": "receive", "progress": 0.0, "attempts": 1,
        "run": 0, "error_code": "", "error_message": "", "created_at": now() - 4.0, "seconds": {},
    } | changed  # fmt: skip
    with database.begin() as connection:
        connection.execute(insert(jobs).values(values))


def numbers(metrics: Metrics) -> dict[str, float]:
    lines = metrics.text().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def test_the_queue_is_counted_by_state(database: Database) -> None:
    add_job(database, "a", "queued", created_at=now() - 60)
    add_job(database, "b", "queued")
    add_job(database, "c", "running")
    beat(database, "here-0")
    with database.begin() as connection:
        connection.execute(insert(conflicts).values(
            sop_uid="1", series_uid="2", kind="late", digest="", sender="", at=0.0))  # fmt: skip
    found = numbers(Metrics(database))
    assert found['medseg_jobs{state="queued"}'] == 2
    assert found['medseg_jobs{state="done"}'] == 0
    assert found["medseg_oldest_queued_job_seconds"] == pytest.approx(60, abs=5)
    assert found["medseg_worker_slots"] == 1
    assert found['medseg_conflicts{kind="late"}'] == 1
    assert found["medseg_database_up"] == 1


def test_an_end_is_counted_once_however_often_it_is_asked_for(database: Database) -> None:
    metrics = Metrics(database)
    add_job(database, "a", "done", finished_at=now(), seconds={"segment": 2.0, "encode": 0.5})
    add_job(database, "b", "dead", finished_at=now(), error_code="service-job")
    add_job(database, "c", "failed", finished_at=now(), error_code="dicom-gap")
    for _ in range(3):
        found = numbers(metrics)
        assert found['medseg_stage_seconds_sum{stage="segment"}'] == 2.0
        assert found['medseg_stage_seconds_count{stage="encode"}'] == 1
        assert found["medseg_job_seconds_count"] == 1
        assert found['medseg_job_failures_total{code="service-job",state="dead"}'] == 1
        assert found['medseg_job_failures_total{code="dicom-gap",state="failed"}'] == 1


def test_what_ended_before_this_process_began_is_not_counted_again(database: Database) -> None:
    add_job(database, "a", "done", finished_at=now() - 1, seconds={"segment": 2.0})
    assert numbers(Metrics(database))["medseg_job_seconds_count"] == 0


def test_requests_are_told(database: Database) -> None:
    metrics = Metrics(database)
    metrics.request("GET", "/jobs/{job_id}", 200, 0.2)
    found = numbers(metrics)
    assert (
        found['medseg_http_requests_total{method="GET",route="/jobs/{job_id}",status="200"}'] == 1
    )
    assert any(re.match("process_resident_memory_bytes", name) for name in found)


def test_a_database_that_is_away_is_a_number_and_no_error(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")
    metrics = Metrics(database)
    with database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE jobs")
    assert numbers(metrics)["medseg_database_up"] == 0
