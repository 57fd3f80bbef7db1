"""The tables of the service, on SQLite or PostgreSQL: what is held, what is to be done, who did it.

Times are seconds since 1970 (UTC). Paths are relative to the data folder.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from medseg.errors import InvalidSettings

metadata = MetaData()

instances = Table(
    "instances",
    metadata,
    Column("sop_uid", String(64), primary_key=True),
    Column("series_uid", String(64), nullable=False, index=True),
    Column("study_uid", String(64), nullable=False, index=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("path", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("header", JSON, nullable=False),
    Column("sender", String(128), nullable=False),
    Column("received_at", Float, nullable=False, index=True),
    Column("result_key", String(64), nullable=True),
)
"""What is held. `digest` is `headers.content_digest`; `header` the attributes that QIDO-RS answers
with, in the DICOM JSON model (PS3.18, F.2); `result_key` says of which result an instance is."""

conflicts = Table(
    "conflicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sop_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("sender", String(128), nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("sop_uid", "kind", "digest"),
)
"""`kind` "bytes": one UID with other bytes, refused. "late": a slice that arrived after its series
was segmented."""

uploads = Table(
    "uploads",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("path", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sender", String(128), nullable=False),
    Column("received_at", Float, nullable=False, index=True),
)
"""Images that are no DICOM: NIfTI files of the page and of `POST /segment`."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("key", String(64), nullable=False, index=True),
    Column("series_uid", String(64), nullable=True, index=True),
    Column("upload_digest", String(64), nullable=True),
    Column("input_digest", String(64), nullable=False),
    Column("model", String(255), nullable=False),
    Column("bundle_path", Text, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("options", JSON, nullable=False),
    Column("destinations", JSON, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("sender", String(128), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("stage", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("run", Integer, nullable=False),
    Column("error_code", String(64), nullable=False),
    Column("error_message", Text, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
    Column("started_at", Float, nullable=True),
    Column("finished_at", Float, nullable=True),
    Column("seconds", JSON, nullable=False),
)
"""`state`: queued, running, done, failed (the case's own fault, never tried again), dead (given up
after so many attempts), cancelled. `stage`: receive, assemble, segment, encode, deliver. `seconds`:
by stage."""

askers = Table(
    "askers",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
)
"""Who asked for what a job was already there for, besides its sender: they may see it too."""

results = Table(
    "results",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("job_id", String(36), nullable=False),
    Column("folder", String(255), nullable=False),
    Column("sop_uid", String(64), nullable=True),
    Column("facts", JSON, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("published_at", Float, nullable=False, index=True),
)
"""One for each key: the fence that lets no result be published twice. `facts`: volumes in ml,
quality, labels with colours, remarks, files by name, the grid's size and spacing."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), ForeignKey("results.key", ondelete="CASCADE"), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("leased_until", Float, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("accepted_at", Float, nullable=True),
    UniqueConstraint("key", "destination"),
)
"""The outbox. `state`: waiting, accepted, refused (the destination says never)."""

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("executor_id", String(128), primary_key=True),
    Column("beat_at", Float, nullable=False),
)
"""When each worker slot was last seen, by the clock of the database."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(8), nullable=False),
    Column("salt", String(32), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("actor", String(128), nullable=False),
    Column("action", String(16), nullable=False),
    Column("subject", String(80), nullable=False, index=True),
    Column("outcome", String(16), nullable=False),
    Column("origin", String(64), nullable=False),
)
"""Append-only, kept so by triggers. `action`: sent, read, deleted, delivered, refused. `subject`:
a word and the keyed hash of a UID."""

Index("jobs_by_turn", jobs.c.state, jobs.c.priority, jobs.c.created_at)
_IS_PENDING = jobs.c.state.in_(("queued", "running"))
Index(
    "jobs_one_pending",
    jobs.c.key,
    unique=True,
    sqlite_where=_IS_PENDING,
    postgresql_where=_IS_PENDING,
)


class Database:
    """The tables behind one address.

    Args:
        url: SQLAlchemy's: `sqlite:///file` or `postgresql+psycopg://...`.

    Raises:
        InvalidSettings: If there is no such database, or it cannot be reached.
    """

    def __init__(self, url: str) -> None:
        try:
            self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
            if self.is_sqlite:
                self.engine = create_engine(url, connect_args={"timeout": 30})
                event.listen(self.engine, "connect", _prepare)
                event.listen(self.engine, "begin", _begin)
            else:
                self.engine = create_engine(url, pool_pre_ping=True)
            metadata.create_all(self.engine)
            self._forbid_changes_of_audit()
        except (ArgumentError, SQLAlchemyError, ImportError) as error:
            raise InvalidSettings(
                "The service keeps its records in SQLite or PostgreSQL.",
                received=" ".join(str(error).split())[:200],
                cure="Check --database: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
            ) from error

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction that may write: kept when the block ends well, undone otherwise."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that only reads: it waits for no writer."""
        with self.engine.connect().execution_options(reading=True) as connection:
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _forbid_changes_of_audit(self) -> None:
        with self.engine.begin() as connection:
            for words in _APPEND_ONLY_SQLITE if self.is_sqlite else _APPEND_ONLY_POSTGRES:
                connection.exec_driver_sql(words)


_APPEND_ONLY_SQLITE = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_no_{what} BEFORE {what} ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for what in ("update", "delete")
)
_APPEND_ONLY_POSTGRES = (
    "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "CREATE OR REPLACE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION audit_append_only()",
)


def _prepare(connection: Any, _: Any) -> None:
    """SQLite as a server's database: readers beside one writer, whole after a power cut."""
    connection.isolation_level = None  # transactions are begun by `_begin`
    for words in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {words}").close()


def _begin(connection: Connection) -> None:
    """Take the writer's lock at once: a reader that turns writer cannot wait for it."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def now() -> float:
    """Seconds since 1970, UTC."""
    return time.time()
