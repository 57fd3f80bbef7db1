"""The way from a recorded job to a worker: DBOS' queue, which outlives every process.

A job is recorded first and queued then; what a crash leaves between the two, `mend` queues.
"""

from typing import Any

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer
from sqlalchemy.engine import make_url

from medseg.errors import JobFailed
from medseg.service.jobs import PENDING, Jobs

QUEUE = "segment"
WORKFLOW = "segment"
APPLICATION = "medseg"
VERSION = "1"
"""Of the workflow: a job that was begun by one version is not gone on with by another."""

_ENDED = "SUCCESS"
_LOST = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED")


_AT_ONCE = 500
"""Jobs that are looked at together."""


def queue_url(url: str) -> str:
    """Where DBOS keeps its tables: for SQLite in a file beside it, else in the same database."""
    parts = make_url(url)
    if parts.get_backend_name() != "sqlite":
        return url
    assert parts.database is not None
    return f"sqlite:///{parts.database.removesuffix('.sqlite')}-queue.sqlite"


def workflow_id(job: dict[str, Any]) -> str:
    """The workflow of a job: a new one each time it is queued by hand."""
    return f"{job['id']}.{job['run']}"


class Queue:
    """The sending end.

    Args:
        url: The service's database.
    """

    def __init__(self, url: str) -> None:
        DBOS.migrate(queue_url(url))
        self._client = DBOSClient(
            system_database_url=queue_url(url),
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
        )

    def put(self, job: dict[str, Any]) -> None:
        """Queue a job; one that is queued already stays as it is."""
        self._client.enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": workflow_id(job),
                "app_version": VERSION,
                "priority": job["priority"],
            },
            job["id"],
        )

    def mend(self, jobs: Jobs) -> int:
        """Queue recorded jobs that nobody will carry out; bury those whose workflow was given up.

        A job may have been recorded and not queued, when this process died in between, or its
        workflow may have ended before it, when two slots carried it out at the same time.

        Args:
            jobs: The records.

        Returns:
            How many jobs there were of both kinds.
        """
        pending = jobs.newest(states=PENDING, limit=_AT_ONCE)
        known = self._client.list_workflows(
            workflow_ids=[workflow_id(job) for job in pending], load_input=False, load_output=False
        )
        status = {one.workflow_id: one.status for one in known}
        mended = 0
        for job in pending:
            became = status.get(workflow_id(job))
            if became is None:
                self.put(job)
            elif became in _LOST:
                jobs.bury(job["id"], _lost(became))
            elif became == _ENDED:
                again = jobs.requeue(job["id"], job["run"])
                if again is None:  # it ended between the two looks
                    continue
                self.put(again)
            else:
                continue
            mended += 1
        return mended

    def close(self) -> None:
        """Give the connections back."""
        self._client.destroy()


def _lost(status: str) -> JobFailed:
    return JobFailed(
        "A job is carried out by a worker that lives.",
        received=f"a workflow that ended with {status}",
        cure="POST /jobs/ID/retry tries it again.",
    )
