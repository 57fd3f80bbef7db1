"""Numbers for Prometheus, read from the tables when asked for: they hold for all workers."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from medseg import __version__
from medseg.service.database import (
    Database,
    conflicts,
    deliveries,
    instances,
    jobs,
    now,
    results,
    uploads,
)
from medseg.service.drift_reports import DriftReports
from medseg.service.heartbeat import living

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
_BACK_SECONDS = 600.0
"""Jobs that ended so long ago are still looked at: clocks of machines differ."""

STATES = ("queued", "running", "done", "failed", "dead", "cancelled")


class Metrics:
    """All numbers of one service, in a registry of their own.

    Args:
        database: The tables.
        drift: Of each model whose data are watched, the folder of `medseg drift watch --out`.
    """

    def __init__(
        self, database: Database, drift: Mapping[str, Path] = MappingProxyType({})
    ) -> None:
        self.registry = CollectorRegistry()
        self._database = database
        self._since = now()
        self._seen: dict[tuple[str, int], float] = {}
        ProcessCollector(registry=self.registry)
        self.registry.register(_Tables(database))
        self.registry.register(DriftReports(drift))
        info = Gauge("medseg_info", "The version.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)
        self._stages = Histogram(
            "medseg_stage_seconds", "Seconds of a job by stage.", ["stage"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._turnaround = Histogram(
            "medseg_job_seconds", "Seconds from a job's record to its end, if it is done.",
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._failures = Counter(
            "medseg_job_failures", "Jobs that failed or were given up, by code of the error.",
            ["state", "code"], registry=self.registry,
        )  # fmt: skip
        self._requests = Counter(
            "medseg_http_requests", "Requests.", ["method", "route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "medseg_http_request_seconds", "Seconds until a request was answered.", ["route"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; what `Access` tells."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        self._follow()
        return generate_latest(self.registry)

    def _follow(self) -> None:
        """Count jobs that ended since this process began, each end once."""
        wanted = select(
            jobs.c.id, jobs.c.run, jobs.c.state, jobs.c.error_code, jobs.c.created_at,
            jobs.c.finished_at, jobs.c.seconds,
        ).where(jobs.c.finished_at > max(self._since, now() - _BACK_SECONDS))  # fmt: skip
        try:
            with self._database.reading() as connection:
                ended = connection.execute(wanted).all()
        except SQLAlchemyError:
            return  # `medseg_database_up` says so
        for row in ended:
            if (row.id, row.run) not in self._seen:
                self._seen[row.id, row.run] = row.finished_at
                self._count(row)
        old = now() - 2 * _BACK_SECONDS
        self._seen = {one: at for one, at in self._seen.items() if at > old}

    def _count(self, row: Any) -> None:
        if row.state == "done":
            self._turnaround.observe(max(0.0, row.finished_at - row.created_at))
            for stage, seconds in row.seconds.items():
                self._stages.labels(stage).observe(seconds)
        elif row.state in ("failed", "dead"):
            self._failures.labels(row.state, row.error_code).inc()


class _Tables(Collector):
    """Numbers that are counted in the tables at the moment they are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[Metric]:
        """Nothing is counted when the collector is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All of them; where the database cannot be reached, that."""
        start = time.monotonic()
        try:
            found = list(self._counted())
        except SQLAlchemyError:
            yield GaugeMetricFamily("medseg_database_up", "Whether it answers.", value=0)
            return
        yield GaugeMetricFamily("medseg_database_up", "Whether it answers.", value=1)
        yield GaugeMetricFamily(
            "medseg_database_seconds", "Seconds that counting took.",
            value=time.monotonic() - start,
        )  # fmt: skip
        yield from found

    def _counted(self) -> Iterator[Metric]:
        with self._database.reading() as connection:
            states = dict.fromkeys(STATES, 0)
            for state, count in connection.execute(
                select(jobs.c.state, func.count()).group_by(jobs.c.state)
            ):
                states[state] = count
            yield _gauge("medseg_jobs", "Jobs by state.", ["state"], states)
            oldest = connection.execute(
                select(func.min(jobs.c.created_at)).where(jobs.c.state == "queued")
            ).scalar_one()
            yield GaugeMetricFamily(
                "medseg_oldest_queued_job_seconds", "How long the oldest queued job has waited.",
                value=0.0 if oldest is None else max(0.0, now() - oldest),
            )  # fmt: skip
            by = (deliveries.c.destination, deliveries.c.state)
            sent = {
                (row[0], row[1]): row[2]
                for row in connection.execute(select(*by, func.count()).group_by(*by))
            }
            yield _gauge(
                "medseg_deliveries", "Results on their way, by destination and state.",
                ["destination", "state"], sent,
            )  # fmt: skip
            yield _gauge(
                "medseg_conflicts", "Instances in conflict with what is held.", ["kind"],
                {row[0]: row[1] for row in connection.execute(
                    select(conflicts.c.kind, func.count()).group_by(conflicts.c.kind))},
            )  # fmt: skip
            held = {
                table.name: connection.execute(
                    select(func.coalesce(func.sum(table.c.size_bytes), 0))
                ).scalar_one()
                for table in (instances, uploads, results)
            }
            yield _gauge("medseg_held_bytes", "Bytes that are held.", ["kind"], held)
            yield GaugeMetricFamily(
                "medseg_held_instances", "Instances that are held.",
                value=connection.execute(select(func.count()).select_from(instances)).scalar_one(),
            )  # fmt: skip
        yield GaugeMetricFamily(
            "medseg_worker_slots", "Worker slots that were seen lately.",
            value=living(self._database),
        )  # fmt: skip


def _gauge(name: str, words: str, labels: list[str], counts: dict[Any, Any]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=labels)
    for label, count in counts.items():
        family.add_metric(label if isinstance(label, tuple) else (label,), float(count))
    return family
