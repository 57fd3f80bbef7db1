"""Results on their way: each destination is tried until it has accepted, or has said never."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select, update

from medseg.errors import MedsegError, Undelivered
from medseg.service.database import Database, deliveries, now, results
from medseg.service.destinations import TIMEOUT_SECONDS, Told, send
from medseg.service.loops import Loop
from medseg.service.service import Service
from medseg.service.settings import Destination

FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 600.0
LEASE_SECONDS = 3 * TIMEOUT_SECONDS
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
        sender: Send = send,
        clock: Callable[[], float] = now,
    ) -> None:
        self._database, self._data, self._generator = database, data, generator
        self._destinations = {one.name: one for one in destinations}
        self._send, self._clock = sender, clock

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
        if not told.refused:
            self._set(row, state="accepted", accepted_at=self._clock(), last_error="")
            _log.info("delivery.accepted", extra={"destination": destination.name})
            return
        words = ", ".join(f"0x{reason:04X}" for reason in sorted(set(told.refused.values())))
        error = Undelivered(
            "A destination accepts each instance of a result.",
            received=f"reasons {words} for {len(told.refused)} of them",
            cure="See its log.",
        )
        if told.is_final:
            self._set(row, state="refused", last_error=str(error))
            _log.warning("delivery.refused", extra={"destination": destination.name})
        else:
            self._later(row, error)

    def _later(self, row: dict[str, Any], error: MedsegError) -> None:
        delay = delay_seconds(row["attempts"], self._generator)
        self._set(row, next_at=self._clock() + delay, last_error=str(error))
        _log.warning(
            "delivery.later", extra={"destination": row["destination"], "code": error.code}
        )

    def _set(self, row: dict[str, Any], **values: object) -> None:
        with self._database.begin() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row["id"])
                .values(leased_until=0.0, **values)
            )

    def _files(self, key: str) -> list[Path]:
        with self._database.reading() as connection:
            wanted = select(results.c.folder).where(results.c.key == key)
            folder = self._data / connection.execute(wanted).scalar_one()
        return [folder / name for name in _FILES if (folder / name).is_file()]


def delay_seconds(attempts: int, generator: np.random.Generator) -> float:
    """How long to wait after so many attempts: doubled each time, up to a bound, and spread.

    Args:
        attempts: Made so far, at least one.
        generator: Spreads it.
    """
    doubled = FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 20)
    spread = 1 + _JITTER * float(generator.uniform(-1, 1))
    return min(doubled, LONGEST_DELAY_SECONDS) * spread


def delivery_loop(service: Service) -> Loop:
    """The loop that delivers the results of a service."""
    outbox = Outbox(
        service.database,
        service.settings.data,
        service.settings.destinations,
        np.random.default_rng(),
    )
    return Loop("outbox", outbox.deliver_due, _LOOK_SECONDS)
