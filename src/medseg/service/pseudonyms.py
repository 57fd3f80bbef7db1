"""Keyed hashes of UIDs, for logs and the audit log: the same UID gives the same word, only here."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from medseg.errors import CannotWrite, UnreadableFile

_BYTES = 32
_FILE = "secret"


class Pseudonyms:
    """Words for UIDs that only the holder of a secret can make.

    A plain hash would not do: UIDs that are known elsewhere could be hashed and looked up.

    Args:
        secret: At least 16 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError("a secret has at least 16 bytes")
        self._secret = secret

    @classmethod
    def of_folder(cls, data: Path) -> "Pseudonyms":
        """Those of a data folder; its secret is made at first use, readable by its owner only.

        Raises:
            CannotWrite: If it cannot be made.
            UnreadableFile: If it is there and cannot be used.
        """
        path = data / _FILE
        try:
            data.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                _make(path)
            secret = path.read_bytes()
        except OSError as error:
            raise CannotWrite(
                "The data folder of the service holds a secret.",
                received=f"{path}: {error.strerror}",
                cure="Let the service's user own the folder.",
            ) from error
        if len(secret) != _BYTES:
            raise UnreadableFile(
                f"The secret of a data folder has {_BYTES} bytes.",
                received=f"{path}, with {len(secret)}",
                cure="Restore it; hashes under another secret cannot be matched with older ones.",
            )
        return cls(secret)

    @classmethod
    def passing(cls) -> "Pseudonyms":
        """Those of one process, under a secret that ends with it."""
        return cls(secrets.token_bytes(_BYTES))

    def hashed(self, uid: str) -> str:
        """The word for a UID: 20 hexadecimal digits of its HMAC-SHA-256."""
        return hmac.new(self._secret, uid.encode(), hashlib.sha256).hexdigest()[:20]


def _make(path: Path) -> None:
    """Write a new secret whole or not at all; whoever comes second keeps the first's."""
    if path.exists():
        return
    temporary = path.with_name(f".{_FILE}-{secrets.token_hex(4)}")
    opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
