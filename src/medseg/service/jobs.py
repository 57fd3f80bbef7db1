"""What is to be segmented and how far it is: the records of jobs, whoever carries them out."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from medseg.errors import JobFailed, MedsegError, NotHeld, TooBusy
from medseg.service.database import Database, askers, deliveries, jobs, now, results
from medseg.service.deliveries import promise
from medseg.service.identity import key_of
from medseg.service.work import Options

State = Literal["queued", "running", "done", "failed", "dead", "cancelled"]
Stage = Literal["receive", "assemble", "segment", "encode", "deliver"]

PENDING: tuple[State, ...] = ("queued", "running")
"""States of jobs that something will still happen to."""

ENDED: tuple[State, ...] = ("done", "failed", "dead", "cancelled")

DEFAULT_PRIORITY = 100

BY_HAND = "by hand"
"""What stands for a rule in jobs that somebody asked for."""


@dataclass(frozen=True)
class Order:
    """What a job is asked to do.

    Attributes:
        model: Name of the bundle.
        bundle_path: Its folder.
        bundle_digest: SHA-256 of it.
        input_digest: SHA-256 of the series or of the upload.
        series_uid: The series; None for an upload.
        upload_digest: The upload; None for a series.
        options: What else decides about the result.
        destinations: Names of where the result goes.
        rule: Name of the rule that made it; "by hand" where somebody asked for it.
        priority: Smaller ones come first.
        sender: Who sent or asked.
    """

    model: str
    bundle_path: str
    bundle_digest: str
    input_digest: str
    series_uid: str | None = None
    upload_digest: str | None = None
    options: Options = field(default_factory=Options)
    destinations: tuple[str, ...] = ()
    rule: str = BY_HAND
    priority: int = DEFAULT_PRIORITY
    sender: str = ""

    @property
    def key(self) -> str:
        """The name of its result."""
        return key_of(self.input_digest, self.bundle_digest, self.options.model_dump(mode="json"))


class Jobs:
    """The records of all jobs.

    Args:
        database: Where they are.
        most_queued: More than so many waiting jobs are refused.
    """

    def __init__(self, database: Database, *, most_queued: int = 10_000) -> None:
        self.database, self.most_queued = database, most_queued

    def submit(self, order: Order) -> tuple[dict[str, Any], bool]:
        """Record a job; the same order gives the job that is there, while it lives or is done.

        Its result then also goes where this order wants it, and whoever gave it may see the job.

        Returns:
            The job, and whether it is a new one.

        Raises:
            TooBusy: If too many jobs wait.
        """
        try:
            return self._submit(order)
        except IntegrityError:  # somebody else recorded the same at the same time
            return self._submit(order)

    def _submit(self, order: Order) -> tuple[dict[str, Any], bool]:
        with self.database.begin() as connection:
            there = connection.execute(_alike(order.key)).first()
            if there is not None:
                job = dict(there._mapping)
                _also_for(connection, job, order.sender)
                return _also_to(connection, job, order), False
            waiting = connection.execute(
                select(func.count()).where(jobs.c.state == "queued")
            ).scalar_one()
            if waiting >= self.most_queued:
                raise TooBusy(
                    "So many jobs may wait and no more.",
                    received=f"{waiting} that wait",
                    cure="Try again later, add workers, or raise limits.queued_jobs.",
                )
            values = _new(order)
            connection.execute(insert(jobs).values(values))
        return values, True

    def get(self, job_id: str) -> dict[str, Any]:
        """The record of one job.

        Raises:
            NotHeld: If there is none.
        """
        with self.database.reading() as connection:
            found = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
        if found is None:
            raise NotHeld(
                "A job is asked for by the id that was given for it.",
                received="an id of no job",
                cure="GET /jobs lists those there are.",
            )
        return dict(found._mapping)

    def newest(
        self,
        *,
        states: Sequence[State] = (),
        series_uid: str | None = None,
        asker: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Records, the newest first; of those alone that somebody asked for, if one is named."""
        wanted = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id)
        if states:
            wanted = wanted.where(jobs.c.state.in_(states))
        if series_uid is not None:
            wanted = wanted.where(jobs.c.series_uid == series_uid)
        if asker is not None:
            wanted = wanted.where(_asked_for_by(asker))
        with self.database.reading() as connection:
            found = connection.execute(wanted.limit(limit).offset(offset))
            return [dict(row._mapping) for row in found]

    def is_asked_for_by(self, job: dict[str, Any], name: str) -> bool:
        """Whether somebody sent what a job is about, or the same again."""
        wanted = select(jobs.c.id).where(jobs.c.id == job["id"], _asked_for_by(name))
        with self.database.reading() as connection:
            return connection.execute(wanted).first() is not None

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self.database.reading() as connection:
            found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
            return {row[0]: row[1] for row in found}

    def result_of(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """The result under a job's key; None while there is none."""
        with self.database.reading() as connection:
            found = connection.execute(select(results).where(results.c.key == job["key"])).first()
        return None if found is None else dict(found._mapping)

    def deliveries_of(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """The outbox's rows of a job's result."""
        with self.database.reading() as connection:
            wanted = select(deliveries).where(deliveries.c.key == job["key"])
            return [dict(row._mapping) for row in connection.execute(wanted)]

    def begin(self, job_id: str) -> dict[str, Any] | None:
        """Count an attempt and say that it runs; None where it was ended meanwhile."""
        with self.database.begin() as connection:
            taken = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state.in_(PENDING))
                .values(
                    state="running",
                    stage="receive",
                    progress=0.0,
                    attempts=jobs.c.attempts + 1,
                    started_at=func.coalesce(jobs.c.started_at, now()),
                )
            )
            if taken.rowcount == 0:
                return None
            found = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
            return dict(found._mapping)

    def move(self, job_id: str, stage: Stage, progress: float) -> bool:
        """Say how far a running job is; False where it was ended meanwhile.

        Args:
            job_id: Which job.
            stage: What is done now.
            progress: From 0 to 1, of the whole job.
        """
        with self.database.begin() as connection:
            moved = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state == "running")
                .values(stage=stage, progress=progress)
            )
            return moved.rowcount > 0

    def finish(self, connection: Connection, job_id: str, seconds: dict[str, float]) -> bool:
        """Say that a job is done, within the transaction that publishes its result."""
        done = connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.in_(PENDING))
            .values(
                state="done",
                stage="deliver",
                progress=1.0,
                seconds=seconds,
                finished_at=now(),
                error_code="",
                error_message="",
            )
        )
        return done.rowcount > 0

    def fail(self, job_id: str, error: MedsegError) -> None:
        """The case cannot be segmented; trying again would not help."""
        self._end(job_id, "failed", error.code, str(error))

    def bury(self, job_id: str, error: MedsegError) -> None:
        """Put aside what failed as often as it may."""
        self._end(job_id, "dead", error.code, str(error))

    def give_back(self, job_id: str, error: MedsegError) -> None:
        """An attempt failed and another one will follow."""
        with self.database.begin() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state == "running")
                .values(
                    state="queued",
                    stage="receive",
                    progress=0.0,
                    error_code=error.code,
                    error_message=str(error),
                )
            )

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End a job that waits or runs. Who carries it out looks at its state.

        Raises:
            NotHeld: If there is no such job.
            JobFailed: If it has ended already.
        """
        job = self.get(job_id)
        if job["state"] not in PENDING:
            raise JobFailed(
                "Only a job that waits or runs can be cancelled.",
                received=f"one that is {job['state']}",
                cure="Nothing needs to be done.",
            )
        self._end(job_id, "cancelled", JobFailed.code, "Cancelled.")
        return self.get(job_id)

    def reopen(self, job_id: str) -> dict[str, Any]:
        """Queue a job again that was given up, failed or was cancelled; attempts start anew.

        Raises:
            NotHeld: If there is no such job.
            JobFailed: If it, or another job for the same, waits or runs, or if it is done.
        """
        anew = {
            "state": "queued", "stage": "receive", "progress": 0.0, "attempts": 0,
            "error_code": "", "error_message": "", "finished_at": None, "started_at": None,
        }  # fmt: skip
        try:
            with self.database.begin() as connection:
                again = connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id, jobs.c.state.in_(("dead", "failed", "cancelled")))
                    .values(run=jobs.c.run + 1, **anew)
                )
        except IntegrityError:
            raise _not_again("one of which another job is carried out now") from None
        job = self.get(job_id)
        if again.rowcount == 0:
            raise _not_again(f"one that is {job['state']}")
        return job

    def requeue(self, job_id: str, run: int) -> dict[str, Any] | None:
        """Queue a job that nobody carries out any more; None where it ended, or runs anew.

        Args:
            job_id: Which job.
            run: The run whose workflow is over.
        """
        with self.database.begin() as connection:
            again = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.run == run, jobs.c.state.in_(PENDING))
                .values(state="queued", stage="receive", progress=0.0, run=jobs.c.run + 1)
            )
        return self.get(job_id) if again.rowcount else None

    def _end(self, job_id: str, state: State, code: str, message: str) -> None:
        with self.database.begin() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state.in_(PENDING))
                .values(state=state, error_code=code, error_message=message, finished_at=now())
            )


def _not_again(received: str) -> JobFailed:
    return JobFailed(
        "Only a job that was given up, failed or was cancelled can be tried again.",
        received=received,
        cure="Wait for its end.",
    )


def _alike(key: str) -> Select[Any]:
    """The newest job of a key that lives, or whose result is still there."""
    has_result = exists().where(results.c.key == jobs.c.key)
    return (
        select(jobs)
        .where(
            jobs.c.key == key,
            jobs.c.state.in_(PENDING) | ((jobs.c.state == "done") & has_result),
        )
        .order_by(jobs.c.created_at.desc())
        .limit(1)
    )


def _asked_for_by(name: str) -> ColumnElement[bool]:
    again = exists().where(askers.c.job_id == jobs.c.id, askers.c.name == name)
    return (jobs.c.sender == name) | again


def _also_for(connection: Connection, job: dict[str, Any], name: str) -> None:
    """Note somebody else who asked for a job that is there."""
    known = select(jobs.c.id).where(jobs.c.id == job["id"], _asked_for_by(name))
    if connection.execute(known).first() is None:
        connection.execute(insert(askers).values(job_id=job["id"], name=name))


def _also_to(connection: Connection, job: dict[str, Any], order: Order) -> dict[str, Any]:
    """A job that is there, with the destinations of another order for the same."""
    more = [name for name in order.destinations if name not in job["destinations"]]
    if more:
        job["destinations"] = [*job["destinations"], *more]
        connection.execute(
            update(jobs).where(jobs.c.id == job["id"]).values(destinations=job["destinations"])
        )
    if job["state"] == "done":
        for name in order.destinations:
            promise(connection, job["key"], name, again=order.rule == BY_HAND)
    return job


def _new(order: Order) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "key": order.key,
        "series_uid": order.series_uid,
        "upload_digest": order.upload_digest,
        "input_digest": order.input_digest,
        "model": order.model,
        "bundle_path": order.bundle_path,
        "bundle_digest": order.bundle_digest,
        "options": order.options.model_dump(mode="json"),
        "destinations": list(order.destinations),
        "rule": order.rule,
        "priority": order.priority,
        "sender": order.sender,
        "state": "queued",
        "stage": "receive",
        "progress": 0.0,
        "attempts": 0,
        "run": 0,
        "error_code": "",
        "error_message": "",
        "created_at": now(),
        "started_at": None,
        "finished_at": None,
        "seconds": {},
    }
