"""Results on their way: each destination is tried until it has accepted, or has said never."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select, update

from medseg.errors import MedsegError, Undelivered
from medseg.service.audit import Audit
from medseg.service.database import Database, deliveries, instances, now, results
from medseg.service.destinations import TIMEOUT_SECONDS, Told, send
from medseg.service.loops import Loop
from medseg.service.service import Service
from medseg.service.settings import Destination

FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 600.0
LEASE_SECONDS = 6 * TIMEOUT_SECONDS
"""Longer than sending a segmentation and a report to a destination that is slow in each answer."""

_JITTER = 0.2
_LOOK_SECONDS = 0.5
_FILES = ("seg.dcm", "measurements.dcm")

Send = Callable[[Destination, list[Path]], Told]

_log = logging.getLogger("medseg.service.outbox")


class Outbox:
    """Sends what is due.

    Args:
        database: The table of deliveries.
        data: The data folder.
        destinations: Where results can go.
        generator: Spreads the delays, so that many results do not come back at once.
        audit: Told of what was delivered.
        sender: Sends files; another one in tests.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        data: Path,
        destinations: tuple[Destination, ...],
        generator: np.random.Generator,
        *,
        audit: Audit | None = None,
        sender: Send = send,
        clock: Callable[[], float] = now,
    ) -> None:
        self._database, self._data, self._generator = database, data, generator
        self._destinations = {one.name: one for one in destinations}
        self._audit, self._send, self._clock = audit, sender, clock

    def deliver_due(self) -> int:
        """Send all that is due; how many deliveries were tried."""
        tried = 0
        while (row := self._lease()) is not None:
            self._try(row)
            tried += 1
        return tried

    def _lease(self) -> dict[str, Any] | None:
        """The delivery that has waited longest, taken for a while: no other process takes it."""
        at = self._clock()
        with self._database.begin() as connection:
            row = connection.execute(
                select(deliveries)
                .where(
                    deliveries.c.state == "waiting",
                    deliveries.c.next_at <= at,
                    deliveries.c.leased_until <= at,
                    deliveries.c.destination.in_(self._destinations),
                )
                .order_by(deliveries.c.next_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row.id)
                .values(leased_until=at + LEASE_SECONDS, attempts=deliveries.c.attempts + 1)
            )
            return {**row._mapping, "attempts": row.attempts + 1}

    def _try(self, row: dict[str, Any]) -> None:
        destination = self._destinations[row["destination"]]
        try:
            told = self._send(destination, self._files(row["key"]))
        except MedsegError as error:
            self._later(row, error)
            return
        except Exception as error:  # a fault of ours, or a file that is gone: never the end of it
            _log.warning("delivery.fault", extra={"error": type(error).__name__})
            self._later(row, _incomplete(type(error).__name__))
            return
        if told.accepted and not told.refused:
            self._set(row, state="accepted", accepted_at=self._clock(), last_error="")
            self._note(row["key"], destination.name)
            _log.info("delivery.accepted", extra={"destination": destination.name})
        elif told.is_final:
            self._set(row, state="refused", last_error=str(_incomplete(_words(told))))
            _log.warning("delivery.refused", extra={"destination": destination.name})
        else:
            self._later(row, _incomplete(_words(told)))

    def _later(self, row: dict[str, Any], error: MedsegError) -> None:
        delay = delay_seconds(row["attempts"], self._generator)
        self._set(row, next_at=self._clock() + delay, last_error=str(error))
        _log.warning(
            "delivery.later", extra={"destination": row["destination"], "code": error.code}
        )

    def _set(self, row: dict[str, Any], **values: object) -> None:
        """Give a delivery back, unless its lease ran out and another process has it."""
        with self._database.begin() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row["id"], deliveries.c.attempts == row["attempts"])
                .values(leased_until=0.0, **values)
            )

    def _files(self, key: str) -> list[Path]:
        with self._database.reading() as connection:
            wanted = select(results.c.folder).where(results.c.key == key)
            folder = self._data / connection.execute(wanted).scalar_one()
        return [folder / name for name in _FILES if (folder / name).is_file()]

    def _note(self, key: str, destination: str) -> None:
        """Note that the result of a study left the house."""
        if self._audit is None:
            return
        with self._database.reading() as connection:
            wanted = select(instances.c.study_uid).where(instances.c.result_key == key).limit(1)
            study_uid = connection.execute(wanted).scalar_one_or_none()
        if study_uid is not None:
            self._audit.note("delivered", "service", "study", study_uid, origin=destination)


def _words(told: Told) -> str:
    """What a destination said against a result."""
    reasons = sorted(set(told.refused.values()) - {0})
    words = [f"0x{reason:04X}" for reason in reasons] + ([told.words] if told.words else [])
    return f"{', '.join(words) or 'no word'} for {len(told.refused)} of its instances"


def _incomplete(received: str) -> Undelivered:
    return Undelivered(
        "A destination accepts each instance of a result.",
        received=received,
        cure="See the log of the destination.",
    )


def delay_seconds(attempts: int, generator: np.random.Generator) -> float:
    """How long to wait after so many attempts: doubled each time, up to a bound, and spread.

    Args:
        attempts: Made so far, at least one.
        generator: Spreads it.
    """
    doubled = FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 20)
    spread = 1 + _JITTER * float(generator.uniform(-1, 1))
    return min(doubled, LONGEST_DELAY_SECONDS) * spread


def delivery_loops(service: Service) -> tuple[Loop, ...]:
    """The loops that deliver the results of a service: one that hangs holds up no other."""
    return tuple(
        Loop(
            f"outbox-{destination.name}",
            Outbox(
                service.database, service.settings.data, (destination,), np.random.default_rng(),
                audit=service.audit,
            ).deliver_due,
            _LOOK_SECONDS,
        )
        for destination in service.settings.destinations
    )  # fmt: skip
