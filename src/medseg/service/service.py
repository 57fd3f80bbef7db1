"""The parts of the service in one hand, opened once for a process that answers requests."""

from dataclasses import dataclass
from typing import Any

from medseg.errors import CannotWrite
from medseg.service.audit import Audit
from medseg.service.auth import Gate
from medseg.service.database import Database
from medseg.service.held import Held, Stored
from medseg.service.jobs import BY_HAND, DEFAULT_PRIORITY, Jobs, Order
from medseg.service.models import Models
from medseg.service.pseudonyms import Pseudonyms
from medseg.service.queue import Queue
from medseg.service.routing import rules_of
from medseg.service.settings import Rule, ServiceSettings
from medseg.service.settling import Rest, Settling
from medseg.service.work import Options


@dataclass(frozen=True)
class Service:
    """What routes and doors need.

    Attributes:
        settings: What was set.
        database: The tables.
        held: Instances and uploads.
        jobs: The records of jobs.
        models: The bundles that may be asked for.
        queue: The way to the workers.
        gate: Who calls, and what they may.
        pseudonyms: What stands for identifiers in logs.
        audit: The append-only log.
        rules: Which series goes where.
        settling: Series that may still grow.
    """

    settings: ServiceSettings
    database: Database
    held: Held
    jobs: Jobs
    models: Models
    queue: Queue
    gate: Gate
    pseudonyms: Pseudonyms
    audit: Audit
    rules: tuple[Rule, ...]
    settling: Settling

    def arrived(
        self,
        stored: Stored,
        settle_seconds: float,
        rest: Rest | None = None,
    ) -> None:
        """An instance arrived with its study: its series is due when it is complete.

        Args:
            stored: What became of it.
            settle_seconds: See `Settling.arrived`.
            rest: See `Settling.arrived`.
        """
        uid = stored.series_uid
        is_more = stored.outcome == "again" and self.settling.is_growing(uid)
        if stored.outcome in ("stored", "late") or is_more:
            self.settling.arrived(stored.series_uid, settle_seconds, rest)

    def submit_series(
        self,
        series_uid: str,
        *,
        sender: str,
        model: str | None = None,
        options: Options | None = None,
        destinations: tuple[str, ...] = (),
        rule: str = BY_HAND,
        priority: int = DEFAULT_PRIORITY,
    ) -> dict[str, Any]:
        """Record and queue a job for a series that is held; the job.

        Raises:
            NotHeld: If the series or the model is not there.
            TooBusy: If too many jobs wait.
        """
        return self._submit(
            model, options, destinations, rule, priority, sender,
            {"series_uid": series_uid, "input_digest": self.held.series_digest(series_uid)},
        )  # fmt: skip

    def submit_upload(
        self,
        digest: str,
        *,
        sender: str,
        model: str | None = None,
        options: Options | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> dict[str, Any]:
        """Record and queue a job for an image that is no DICOM; the job.

        Raises:
            NotHeld: If the model is not there.
            TooBusy: If too many jobs wait.
        """
        return self._submit(
            model, options, (), BY_HAND, priority, sender,
            {"upload_digest": digest, "input_digest": digest},
        )  # fmt: skip

    def _submit(
        self,
        model: str | None,
        options: Options | None,
        destinations: tuple[str, ...],
        rule: str,
        priority: int,
        sender: str,
        what: dict[str, str],
    ) -> dict[str, Any]:
        chosen = self.models.get(model)
        order = Order(
            model=chosen.name,
            bundle_path=str(chosen.folder),
            bundle_digest=chosen.digest,
            options=options or Options(),
            destinations=destinations,
            rule=rule,
            priority=priority,
            sender=sender,
            **what,
        )
        job, is_new = self.jobs.submit(order)
        if is_new:
            self.queue.put(job)
        return job

    def retry(self, job_id: str) -> dict[str, Any]:
        """Queue a job again.

        Raises:
            NotHeld: If there is no such job.
            JobFailed: If it waits, runs or is done.
        """
        job = self.jobs.reopen(job_id)
        self.queue.put(job)
        return job

    def close(self) -> None:
        """Give everything back."""
        self.queue.close()
        self.database.close()


def open_service(settings: ServiceSettings) -> Service:
    """Open the data folder, the database and the queue.

    Raises:
        InvalidSettings: If the database cannot be reached.
        UnknownBundle: If a model is not there.
        CannotWrite: If the data folder cannot be made.
    """
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds patients' data
    except OSError as error:
        raise CannotWrite(
            "The service holds everything in a folder that it can write.",
            received=f"{settings.data}: {error.strerror}",
            cure="Choose another folder with --data.",
        ) from error
    database = Database(settings.url)
    models = Models(settings.models)
    pseudonyms = Pseudonyms.of_folder(settings.data)
    audit = Audit(database, pseudonyms)
    return Service(
        settings=settings,
        database=database,
        held=Held(database, settings.data, settings.limits, settings.retention),
        jobs=Jobs(database, most_queued=settings.limits.queued_jobs),
        models=models,
        queue=Queue(settings.url),
        gate=Gate(settings.auth, database, audit),
        pseudonyms=pseudonyms,
        audit=audit,
        rules=rules_of(settings, models),
        settling=Settling(),
    )
