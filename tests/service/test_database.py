"""The tables of the service."""

from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import DatabaseError

from medseg.errors import InvalidSettings
from medseg.service.database import Database, audit, heartbeats, jobs, now

ENTRY = {"at": 1.0, "actor": "a", "action": "sent", "subject": "study:x", "outcome": "ok",
         "origin": "127.0.0.1"}  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'x.sqlite'}")


@pytest.mark.parametrize("change", [delete(audit), update(audit).values(actor="b")])
def test_the_audit_log_can_only_grow(database: Database, change: object) -> None:
    with database.begin() as connection:
        connection.execute(insert(audit).values(ENTRY))
    with pytest.raises(DatabaseError, match="append-only"), database.begin() as connection:
        connection.execute(change)  # type: ignore[call-overload]
    with database.reading() as connection:
        assert connection.execute(select(audit.c.actor)).scalars().all() == ["a"]


def test_opening_twice_keeps_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    first = Database(url)
    with first.begin() as connection:
        connection.execute(insert(heartbeats).values(executor_id="a", beat_at=now()))
    with Database(url).reading() as connection:
        assert connection.execute(select(heartbeats.c.executor_id)).scalar_one() == "a"


def test_an_error_inside_undoes_the_transaction(database: Database) -> None:
    with pytest.raises(KeyError, match="x"), database.begin() as connection:
        connection.execute(insert(heartbeats).values(executor_id="a", beat_at=1.0))
        raise KeyError("x")
    with database.reading() as connection:
        assert connection.execute(select(heartbeats)).all() == []


def test_readers_wait_for_no_writer(database: Database) -> None:
    with database.begin() as writer:
        writer.execute(insert(heartbeats).values(executor_id="a", beat_at=1.0))
        with database.reading() as reader:
            assert reader.execute(select(jobs)).all() == []


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.sqlite", "oracle://x"])
def test_a_database_that_is_not_there(url: str) -> None:
    with pytest.raises(InvalidSettings, match="SQLite or PostgreSQL"):
        Database(url)
