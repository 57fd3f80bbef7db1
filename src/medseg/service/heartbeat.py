"""Which worker slots live, by the clock of the database: clocks of machines differ."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal_column, select, update

from medseg.service.database import Database, heartbeats

LOST_SECONDS = 15.0
"""A slot that was not seen for so long is lost; a living one is seen every two seconds."""


def _clock(database: Database) -> Any:
    if database.is_sqlite:
        return literal_column("(julianday('now') - 2440587.5) * 86400.0")
    return func.extract("epoch", func.clock_timestamp())


def beat(database: Database, slot: str) -> None:
    """Say that a slot lives."""
    clock = _clock(database)
    with database.begin() as connection:
        seen = connection.execute(
            update(heartbeats).where(heartbeats.c.executor_id == slot).values(beat_at=clock)
        )
        if seen.rowcount == 0:
            connection.execute(insert(heartbeats).values(executor_id=slot, beat_at=clock))


def leave(database: Database, slot: str) -> None:
    """Say that a slot ends; its jobs are taken up like those of a lost one."""
    with database.begin() as connection:
        connection.execute(
            update(heartbeats).where(heartbeats.c.executor_id == slot).values(beat_at=0.0)
        )


def take_lost(database: Database, slot: str, *, lost_seconds: float = LOST_SECONDS) -> list[str]:
    """Names of lost slots whose jobs this slot shall take up, and then `forget`.

    For as long as a slot may be silent no other one is given them; if this one is lost too before
    it took them up, another one is.

    Args:
        database: Where heartbeats are.
        slot: Who asks.
        lost_seconds: Without a heartbeat for so long a slot is lost.
    """
    with database.begin() as connection:
        return [
            name
            for name in _silent(database, connection, lost_seconds)
            if name != slot
            and connection.execute(
                update(heartbeats)
                .where(heartbeats.c.executor_id == name)
                .values(beat_at=_clock(database))
            ).rowcount
        ]


def forget(database: Database, names: Sequence[str]) -> None:
    """Strike out lost slots whose jobs were taken up; one that lives says so again."""
    with database.begin() as connection:
        connection.execute(delete(heartbeats).where(heartbeats.c.executor_id.in_(names)))


def living(database: Database, *, within_seconds: float = LOST_SECONDS) -> int:
    """How many slots were seen lately."""
    clock = _clock(database)
    with database.reading() as connection:
        wanted = select(func.count()).where(heartbeats.c.beat_at > clock - within_seconds)
        return int(connection.execute(wanted).scalar_one())


def _silent(database: Database, connection: Connection, seconds: float) -> list[str]:
    clock = _clock(database)
    wanted = select(heartbeats.c.executor_id).where(heartbeats.c.beat_at <= clock - seconds)
    return list(connection.execute(wanted).scalars())
