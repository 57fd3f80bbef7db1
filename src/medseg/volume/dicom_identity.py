"""UIDs of what medseg writes: new ones, or such that follow from a name."""

import uuid

_SPACE = uuid.UUID("6f2a4c0e-8f3d-5c7b-9a41-1d2e5b7c9f30")
"""Names below it are medseg's own (RFC 9562, version 5)."""


def uid_for(identity: str, what: str) -> str:
    """A UID that is a UUID (PS3.5, B.2).

    Args:
        identity: Of what is written: the same one gives the same UIDs, so that a file written twice
            is one object wherever it is sent. Empty for a new UID each time.
        what: Which UID of it.
    """
    number = uuid.uuid5(_SPACE, f"{identity} {what}") if identity else uuid.uuid4()
    return f"2.25.{number.int}"
