"""The way from a recorded job to a worker, with real slots whose child process is a pretence."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pretended_slots import started, wait_until
from small_service import phantom_nifti

from medseg.errors import JobFailed
from medseg.service.heartbeat import living
from medseg.service.queue import Queue, queue_url, workflow_id
from medseg.service.service import Service


@pytest.fixture
def queue(service: Service) -> Iterator[Queue]:
    opened = Queue(service.settings.url)
    yield opened
    opened.close()


@pytest.fixture
def submit(service: Service, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def record(number: int, priority: int = 100) -> dict[str, Any]:
        file = service.held.incoming / "x"
        content = phantom_nifti(tmp_path / "x.nii.gz").read_bytes()
        file.write_bytes(content + bytes([number]))
        digest = service.held.put_upload(file, "x.nii.gz", "test")
        return service.submit_upload(digest, sender="test", priority=priority)

    return record


@pytest.mark.parametrize(
    ("how", "successor"),
    [
        pytest.param(signal.SIGKILL, "b", id="killed"),
        pytest.param(signal.SIGTERM, "a", id="ended", marks=pytest.mark.slow),
    ],
)
def test_what_a_slot_left_is_carried_out_by_another_or_by_itself(
    service: Service, queue: Queue, submit: Callable[..., dict[str, Any]], how: int, successor: str
) -> None:
    first = submit(1)
    queue.put(first)
    queue.put(first)
    with started(service, "a", "hangs") as slot:
        wait_until(lambda: service.jobs.get(first["id"])["stage"] == "segment")
        later, sooner = submit(2, priority=200), submit(3, priority=1)
        queue.put(later)
        assert queue.mend(service.jobs) == 1  # the one that was recorded and not queued
        assert queue.mend(service.jobs) == 0
        slot.send_signal(how)
        slot.wait(30)
        left = service.jobs.get(first["id"])
        assert (left["state"], left["attempts"]) == ("running", 1)
    every = [first, later, sooner]
    with started(service, successor, "works"):
        wait_until(lambda: service.jobs.counts() == {"done": 3})
        assert living(service.database) == 1
    ended = [service.jobs.get(job["id"]) for job in every]
    assert [job["attempts"] for job in ended] == [1, 1, 1]
    assert ended[2]["finished_at"] < ended[1]["finished_at"]


@dataclass
class Status:
    workflow_id: str
    status: str


@dataclass
class FakeClient:
    """What DBOS knows, and what it was given."""

    known: list[Status]
    given: list[str] = field(default_factory=list)

    def list_workflows(self, **_: Any) -> list[Status]:
        return self.known

    def enqueue(self, options: dict[str, Any], job_id: str) -> None:
        self.given.append(options["workflow_id"])


def test_jobs_whose_workflow_ended_before_them_are_mended(
    service: Service, submit: Callable[..., dict[str, Any]]
) -> None:
    waiting, ended, lost, unknown = (submit(number) for number in range(4))
    client = FakeClient([
        Status(workflow_id(waiting), "ENQUEUED"), Status(workflow_id(ended), "SUCCESS"),
        Status(workflow_id(lost), "ERROR"),
    ])  # fmt: skip
    queue = Queue.__new__(Queue)
    queue._client = client  # type: ignore[assignment]
    assert queue.mend(service.jobs) == 3
    assert sorted(client.given) == sorted([f"{ended['id']}.1", f"{unknown['id']}.0"])
    told = service.jobs.get(lost["id"])
    assert (told["state"], told["error_code"]) == ("dead", JobFailed.code)
    assert "ended with ERROR" in told["error_message"]
    assert service.jobs.get(waiting["id"])["run"] == 0


def test_where_the_queue_is_kept() -> None:
    assert queue_url("sqlite:////data/medseg.sqlite") == "sqlite:////data/medseg-queue.sqlite"
    url = "postgresql+psycopg://me@host/medseg"
    assert queue_url(url) == url
