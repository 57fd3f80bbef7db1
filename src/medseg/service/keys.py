"""API keys: shown once, held as salted hashes, revoked at once."""

import hashlib
import hmac
import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from medseg.errors import InvalidSettings, NotHeld
from medseg.service.database import Database, api_keys, now
from medseg.service.settings import Role

_FORM = re.compile(r"ms_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KNOWN_MOST = 256


@dataclass(frozen=True)
class ApiKey:
    """A key as it is held.

    Attributes:
        id: The middle part of its text.
        name: Whom it was made for.
        role: What it allows.
        created_at: Seconds since 1970.
        revoked_at: Seconds since 1970; None while it is good.
    """

    id: str
    name: str
    role: Role
    created_at: float
    revoked_at: float | None


class ApiKeys:
    """The keys in a database.

    A key is `ms_ID_SECRET` with a secret of 256 random bits. Hashing is scrypt (RFC 7914) with
    N = 4096, r = 8, p = 1: some milliseconds once, since a process remembers the secrets that it
    saw to be right; each use still asks the database whether the key was revoked.

    Args:
        database: Where they are held.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, name: str, role: Role) -> str:
        """Make a key. Its text is held nowhere: whoever loses it makes another one.

        Raises:
            InvalidSettings: If there is a key of this name, or the name is none.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidSettings(
                "The name of a key has up to 64 letters, digits, dots, dashes and underscores.",
                received=repr(name),
                cure="Choose another name.",
            )
        key_id, secret, salt = (
            secrets.token_hex(6),
            secrets.token_urlsafe(32),
            secrets.token_hex(16),
        )
        values = {
            "id": key_id,
            "name": name,
            "role": role,
            "salt": salt,
            "hash": _hashed(secret, salt),
            "created_at": now(),
            "revoked_at": None,
        }
        try:
            with self._database.begin() as connection:
                connection.execute(insert(api_keys).values(values))
        except IntegrityError:
            raise InvalidSettings(
                "Each key has a name of its own, and the audit log knows it by that.",
                received=f"{name}, which is or was another key's",
                cure="Choose another name.",
            ) from None
        return f"ms_{key_id}_{secret}"

    def every(self) -> list[ApiKey]:
        """All keys, revoked ones too, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at)).all()
        return [ApiKey(r.id, r.name, r.role, r.created_at, r.revoked_at) for r in rows]

    def revoke(self, name: str) -> None:
        """Let a key open nothing any more, from the next request on.

        Raises:
            NotHeld: If there is no good key of this name.
        """
        with self._database.begin() as connection:
            ended = connection.execute(
                update(api_keys)
                .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now())
            )
        if ended.rowcount == 0:
            raise NotHeld(
                "A key is revoked by its name, once.",
                received=f"{name}, which is no good key",
                cure="`medseg serve-key list` shows all keys.",
            )

    def find(self, text: str) -> ApiKey | None:
        """The key of this text; None if there is none, or it was revoked.

        Args:
            text: What a client sent, whatever it is.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        with self._database.reading() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == form[1])).first()
        if row is None or row.revoked_at is not None:
            return None
        if not self._is_right(form[2], row.salt, row.hash):
            return None
        return ApiKey(row.id, row.name, row.role, row.created_at, None)

    def _is_right(self, secret: str, salt: str, held: str) -> bool:
        quick = hashlib.sha256(secret.encode()).digest()
        with self._lock:  # one scrypt at a time: guessing takes no memory and one processor at most
            known = self._known.get(held)
            if known is not None and hmac.compare_digest(known, quick):
                self._known.move_to_end(held)
                return True
            if not hmac.compare_digest(_hashed(secret, salt), held):
                return False
            self._known[held] = quick
            if len(self._known) > _KNOWN_MOST:
                self._known.popitem(last=False)
            return True


def _hashed(secret: str, salt: str) -> str:
    """64 hexadecimal digits."""
    return hashlib.scrypt(
        secret.encode(), salt=bytes.fromhex(salt), n=4096, r=8, p=1, dklen=32
    ).hex()
