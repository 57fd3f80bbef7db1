"""A job's way through a worker: receive, assemble, segment, encode, deliver; each a durable step.

DBOS records what each step gave. A worker that comes back goes on behind the last recorded step.
The body of a step may run twice; what it does to the tables is therefore fenced by the state of the
job and the key of the result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbos import DBOS

from medseg.errors import MedsegError
from medseg.service.attempt import CaseFault, Child
from medseg.service.database import Database
from medseg.service.held import Held
from medseg.service.jobs import Jobs, Stage
from medseg.service.publish import publish, working_folder
from medseg.service.queue import WORKFLOW
from medseg.service.settings import Limits

_SHARES: dict[Stage, tuple[float, float]] = {
    "assemble": (0.0, 0.2),
    "segment": (0.2, 0.9),
    "encode": (0.9, 1.0),
}
"""Of the whole job, where each stage begins and ends."""

_MOST_RECOVERIES = 100

_PATIENT: dict[str, Any] = {"retries_allowed": True, "interval_seconds": 0.5, "max_attempts": 8}
"""A step whose tables cannot be reached, or whose disk is full, is tried again for a minute."""


@dataclass(frozen=True)
class Slot:
    """What carries out one job at a time.

    Attributes:
        database: The tables.
        held: The instances.
        jobs: The records of jobs.
        child: The process that segments.
        limits: Attempts and seconds.
        data: The data folder.
    """

    database: Database
    held: Held
    jobs: Jobs
    child: Child
    limits: Limits
    data: Path

    def receive(self, job_id: str) -> dict[str, Any]:
        """Begin an attempt; `ended` where there is nothing to do any more."""
        job = self.jobs.begin(job_id)
        if job is None:
            return {"what": "ended"}
        return {"what": "ok", "last": job["attempts"] >= self.limits.attempts}

    def stage(self, job_id: str, stage: Stage, last: bool) -> dict[str, Any]:
        """Carry out a stage in the child: `ok` with its facts, `ended`, or `again`."""
        job = self.jobs.get(job_id)
        begin, end = _SHARES[stage]
        if not self.jobs.move(job_id, stage, begin):
            return {"what": "ended"}
        start = time.monotonic()
        try:
            facts = self.child.ask(
                stage,
                self._work(job),
                seconds=self.limits.job_seconds,
                told=lambda share: self._tell(job_id, stage, begin + share * (end - begin)),
                is_ended=lambda: self.jobs.get(job_id)["state"] != "running",
            )
        except CaseFault as error:
            self.jobs.fail(job_id, error)
            return {"what": "ended"}
        except MedsegError as error:
            return self._again(job_id, error, last)
        return {"what": "ok", "facts": facts, "seconds": time.monotonic() - start}

    def deliver(
        self, job_id: str, facts: dict[str, Any], seconds: dict[str, float], last: bool
    ) -> dict[str, Any]:
        """Publish the result: `ended`, or `again` where its files are gone."""
        job = self.jobs.get(job_id)
        try:
            publish(self.database, self.jobs, self.data, job, facts, seconds)
        except MedsegError as error:
            return self._again(job_id, error, last)
        return {"what": "ended"}

    def _tell(self, job_id: str, stage: Stage, progress: float) -> None:
        self.jobs.move(job_id, stage, round(progress, 3))

    def _again(self, job_id: str, error: MedsegError, last: bool) -> dict[str, Any]:
        if self.jobs.get(job_id)["state"] != "running":
            return {"what": "ended"}
        if last:
            self.jobs.bury(job_id, error)
            return {"what": "ended"}
        self.jobs.give_back(job_id, error)
        return {"what": "again"}

    def _work(self, job: dict[str, Any]) -> dict[str, Any]:
        files: list[str] = []
        upload = None
        if job["series_uid"] is not None:
            rows = self.held.instances_of(series_uid=job["series_uid"])
            files = [str(self.held.path_of(row).absolute()) for row in rows]
        else:
            upload = str(self.held.upload_of(job["upload_digest"]).absolute())
        return {
            "key": job["key"],
            "bundle": job["bundle_path"],
            "options": job["options"],
            "files": files,
            "series_uid": job["series_uid"] or "",
            "upload": upload,
            "out": str((self.data / working_folder(job["key"], job["id"])).absolute()),
        }


def register(slot: Slot) -> Callable[[str], str]:
    """Tell DBOS of the workflow, once for a process.

    Args:
        slot: What carries it out.
    """

    @DBOS.step(name="receive", **_PATIENT)
    def receive(job_id: str) -> dict[str, Any]:
        return slot.receive(job_id)

    @DBOS.step(name="deliver", **_PATIENT)
    def deliver(
        job_id: str, facts: dict[str, Any], seconds: dict[str, float], last: bool
    ) -> dict[str, Any]:
        return slot.deliver(job_id, facts, seconds, last)

    steps = {name: _stage_step(slot, name) for name in _SHARES}

    def attempt(job_id: str, last: bool) -> dict[str, Any]:
        """One attempt: what became of it; if all is well, with its facts and seconds by stage."""
        seconds: dict[str, float] = {}
        given: dict[str, Any] = {}
        for name, step in steps.items():
            given = step(job_id, last)
            if given["what"] != "ok":
                return given
            seconds[name] = given["seconds"]
        return {**given, "seconds": seconds}

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=_MOST_RECOVERIES)
    def carry_out(job_id: str) -> str:
        while True:
            given = receive(job_id)
            if given["what"] == "ok":
                last = bool(given["last"])
                given = attempt(job_id, last)
                if given["what"] == "ok":
                    given = deliver(job_id, given["facts"], given["seconds"], last)
            if given["what"] == "ended":
                return "ended"

    return carry_out


def _stage_step(slot: Slot, name: Stage) -> Callable[[str, bool], dict[str, Any]]:
    @DBOS.step(name=name, **_PATIENT)
    def step(job_id: str, last: bool) -> dict[str, Any]:
        return slot.stage(job_id, name, last)

    return step
