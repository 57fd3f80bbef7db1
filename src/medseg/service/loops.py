"""What the service does by itself beside answering: jobs for series that are complete, mending."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from medseg.errors import MedsegError
from medseg.service.database import conflicts, instances, jobs
from medseg.service.retention import retain
from medseg.service.routing import facts_of, first_fitting
from medseg.service.service import Service

MEND_SECONDS = 5.0
RETENTION_SECONDS = 60.0
_LOOK_SECONDS = 0.1

_NOT_IMAGES = ("SEG", "SR", "RTSTRUCT", "PR", "KO", "RTPLAN", "RTDOSE", "REG", "DOC")

_log = logging.getLogger("medseg.service.loops")


@dataclass(frozen=True)
class Loop:
    """Something that is done again and again.

    Attributes:
        name: Of its thread.
        work: What is done.
        seconds: How long it rests in between.
    """

    name: str
    work: Callable[[], object]
    seconds: float

    def run(self, stop: threading.Event) -> None:
        """Do it until told to stop; what fails once, for whatever reason, is tried again."""
        while not stop.is_set():
            try:
                self.work()
            except Exception as error:
                _log.warning(
                    "loop.failed", extra={"kind": self.name, "error": type(error).__name__}
                )
            stop.wait(self.seconds)


def loops_of(service: Service) -> tuple[Loop, ...]:
    """The loops that a service needs."""
    return (
        Loop("settling", lambda: submit_due(service), _LOOK_SECONDS),
        Loop("mending", lambda: service.queue.mend(service.jobs), MEND_SECONDS),
        Loop("retention", lambda: retain(service), RETENTION_SECONDS),
    )


def start(loops: tuple[Loop, ...], stop: threading.Event) -> list[threading.Thread]:
    """Start each loop in a thread of its own."""
    threads = [
        threading.Thread(target=loop.run, args=(stop,), name=loop.name, daemon=True)
        for loop in loops
    ]
    for thread in threads:
        thread.start()
    return threads


def remember_forgotten(service: Service) -> int:
    """Series that a restart made this process forget are due again; how many.

    Those without a job, and those that grew after they were segmented. A job that is there already
    for just these instances is not made twice.
    """
    of_jobs = select(jobs.c.series_uid).where(jobs.c.series_uid.is_not(None))
    with service.database.reading() as connection:
        without = connection.execute(
            select(instances.c.series_uid)
            .where(instances.c.result_key.is_(None), instances.c.series_uid.not_in(of_jobs))
            .distinct()
        ).scalars()
        late = connection.execute(
            select(conflicts.c.series_uid).where(conflicts.c.kind == "late").distinct()
        ).scalars()
        forgotten = {*without, *late}
    for uid in forgotten:
        service.settling.arrived(uid, service.settings.incomplete_seconds)
    return len(forgotten)


def submit_due(service: Service) -> int:
    """Make jobs of series that are complete; how many. One that fails is due again later."""
    made = 0
    for uid in service.settling.due():
        try:
            made += _submit(service, uid)
        except (MedsegError, OSError, SQLAlchemyError) as error:
            _log.warning("series.later", extra={"series_uid": uid, "error": type(error).__name__})
            service.settling.arrived(uid, MEND_SECONDS)
    return made


def _submit(service: Service, series_uid: str) -> bool:
    """A job for a series, if a rule speaks of it."""
    rows = service.held.instances_of(series_uid=series_uid)
    if not rows:
        return False
    facts = facts_of(rows[0]["header"])
    if facts.modality.upper() in _NOT_IMAGES or rows[0]["result_key"] is not None:
        return False
    rule = first_fitting(service.rules, facts)
    if rule is None:
        _log.info("series.no_rule", extra={"series_uid": series_uid})
        service.audit.note("refused", "service", "series", series_uid, outcome="no rule")
        return False
    job = service.submit_series(
        series_uid,
        sender=rows[0]["sender"],
        model=rule.model,
        destinations=rule.destinations,
        rule=rule.name,
        priority=rule.priority,
    )
    _log.info(
        "series.routed", extra={"job_id": job["id"], "rule": rule.name, "series_uid": series_uid}
    )
    return True
