"""Who calls and what they may: nobody is asked on loopback, else an API key or a signed token."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from medseg.errors import NotAllowed, NotIdentified
from medseg.service.audit import Audit
from medseg.service.database import Database, now
from medseg.service.keys import ApiKeys
from medseg.service.settings import Auth, KeyAuth, OidcAuth, Role
from medseg.service.tokens import Tokens

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="medseg"'}
"""Header of an answer 401 (RFC 6750, 3)."""

_BEARER = HTTPBearer(auto_error=False, description="An API key, or a token of the provider.")
_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")
_NOTED_EVERY_SECONDS = 60.0
_ORIGINS_MOST = 1024


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: `key:NAME`, `oidc:SUBJECT` or `anybody`; stands as the sender beside what they send.
        roles: What they may do; admin may do everything.
        origin: Their address.
    """

    name: str
    roles: frozenset[Role]
    origin: str

    def may(self, role: Role) -> bool:
        """Whether a role is theirs."""
        return role in self.roles or "admin" in self.roles

    @property
    def sees_only(self) -> str | None:
        """Whose things alone they may see; None for everybody's."""
        return None if self.may("read") else self.name


class Gate:
    """Tells callers apart.

    Args:
        auth: How.
        database: Where keys are held.
        audit: Where refusals are noted: one a minute for each address, so that nobody can fill it.
    """

    def __init__(self, auth: Auth, database: Database, audit: Audit | None = None) -> None:
        self._keys = ApiKeys(database) if isinstance(auth, KeyAuth) else None
        self._tokens = Tokens(auth) if isinstance(auth, OidcAuth) else None
        self._audit = audit
        self._noted: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked."""
        return self._keys is None and self._tokens is None

    def caller(self, credential: str | None, origin: str) -> Caller:
        """Who somebody is by what they sent.

        Args:
            credential: A key or a token; None for none.
            origin: Their address.

        Raises:
            NotIdentified: If something else is needed.
            NetworkUnavailable: If tokens cannot be checked now.
        """
        if self.is_open:
            return Caller("anybody", frozenset({"send", "read", "admin"}), origin)
        if credential is None:
            raise _unknown("nothing")
        if self._tokens is not None:
            subject, roles = self._tokens.read(credential)
            return Caller(f"oidc:{subject}", roles, origin)
        assert self._keys is not None
        key = self._keys.find(credential)
        if key is None:
            raise _unknown("a key that is wrong or was revoked")
        return Caller(f"key:{key.name}", frozenset({key.role}), origin)

    def note_refusal(self, actor: str, origin: str, outcome: str) -> None:
        """Write into the audit log that somebody was not let in."""
        with self._lock:
            at = now()
            if self._audit is None or at - self._noted.get(origin, 0.0) < _NOTED_EVERY_SECONDS:
                return
            if len(self._noted) >= _ORIGINS_MOST:
                self._noted.clear()
            self._noted[origin] = at
        self._audit.note("refused", actor, "door", "http", outcome=outcome, origin=origin)


def require(*roles: Role) -> Callable[..., Caller]:
    """A dependency that gives the caller, who has one of some roles; admin has them all.

    The app holds its `Gate` as `app.state.gate`.

    Raises:
        NotIdentified: Answered with 401 and `CHALLENGE`.
        NotAllowed: Answered with 403.
    """
    wanted = " or ".join(roles)

    def known(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
        key: Annotated[str | None, Depends(_KEY)],
    ) -> Caller:
        gate = request.app.state.gate
        assert isinstance(gate, Gate)
        origin = request.client.host if request.client else ""
        try:
            caller = gate.caller(key if bearer is None else bearer.credentials, origin)
        except NotIdentified:
            gate.note_refusal("nobody", origin, "401")
            raise
        if not any(caller.may(role) for role in roles):
            gate.note_refusal(caller.name, origin, "403")
            raise NotAllowed(
                f"This needs the role {wanted}.",
                received=f"the role {', '.join(sorted(caller.roles)) or 'of nobody'}",
                cure="Ask whoever runs the service for a key of that role.",
            )
        return caller

    return known


def _unknown(received: str) -> NotIdentified:
    return NotIdentified(
        "This service asks who calls.",
        received=received,
        cure="Send an API key or a token: `Authorization: Bearer ...` or, for keys, `X-API-Key`.",
    )
