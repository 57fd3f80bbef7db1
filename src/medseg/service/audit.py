"""Who sent, read and deleted what: rows that are only ever added, and name no patient."""

import threading
import time
from typing import Any, Literal

from fastapi import Request
from sqlalchemy import insert, select

from medseg.service.database import Database, audit, now
from medseg.service.pseudonyms import Pseudonyms

Action = Literal["sent", "read", "deleted", "delivered", "refused", "changed"]
Kind = Literal["study", "series", "instance", "upload", "job", "key", "door"]


_NOTED_MOST = 10_000


class Audit:
    """The audit log. The database itself refuses to change or remove its rows.

    Args:
        database: Where it is.
        pseudonyms: How UIDs are called in it.
    """

    def __init__(self, database: Database, pseudonyms: Pseudonyms) -> None:
        self._database, self._pseudonyms = database, pseudonyms
        self._noted: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def note(
        self,
        action: Action,
        actor: str,
        kind: Kind,
        uid: str,
        *,
        outcome: str = "ok",
        origin: str = "",
        every_seconds: float = 0.0,
    ) -> None:
        """Add a row.

        Args:
            action: What was done.
            actor: Who did it: `key:NAME`, `oidc:SUBJECT`, `ae:TITLE`, `service` or `anybody`.
            kind: Of what it was done to.
            uid: Of what it was done to; hashed, but for jobs, keys and doors, whose names say
                nothing of a patient.
            outcome: `ok`, or a short word or code.
            origin: The other side's address.
            every_seconds: The same again within so many seconds is no row of its own: a viewer
                asks for hundreds of slices, and a scanner sends hundreds of instances.
        """
        if self._is_noted((action, actor, kind, uid, outcome, origin), every_seconds):
            return
        open_name = kind in ("job", "key", "door")
        name = uid if open_name else self._pseudonyms.hashed(uid)
        values = {
            "at": now(),
            "actor": actor[:128],
            "action": action,
            "subject": f"{kind} {name}"[:80],
            "outcome": outcome[:16],
            "origin": origin[:64],
        }
        with self._database.begin() as connection:
            connection.execute(insert(audit).values(values))

    def _is_noted(self, words: tuple[str, ...], every_seconds: float) -> bool:
        """Whether there is such a row of late; from now on there is."""
        if every_seconds <= 0:
            return False
        with self._lock:
            at = time.monotonic()
            if at < self._noted.get(words, 0.0):
                return True
            if len(self._noted) >= _NOTED_MOST:
                self._noted.clear()
            self._noted[words] = at + every_seconds
            return False

    def of(self, kind: Kind, uid: str) -> list[dict[str, Any]]:
        """All that happened to one thing, in order: only who knows its UID can ask."""
        name = uid if kind in ("job", "key", "door") else self._pseudonyms.hashed(uid)
        wanted = select(audit).where(audit.c.subject == f"{kind} {name}"[:80]).order_by(audit.c.id)
        with self._database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(wanted)]

    def newest(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last rows, the newest first."""
        wanted = select(audit).order_by(audit.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(wanted)]


def audit_of(request: Request) -> Audit:
    """The audit log of the app that a request came to (`app.state.audit`); a dependency."""
    found = request.app.state.audit
    assert isinstance(found, Audit)
    return found
