"""Signed tokens of an OpenID provider: who it says somebody is, and which roles that gives here."""

import hashlib
from typing import Any

import jwt

from medseg.errors import NetworkUnavailable, NotIdentified
from medseg.service.settings import OidcAuth, Role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
              "ES256", "ES384", "ES512", "EdDSA")  # fmt: skip
"""Signatures by a private key only: not `none`, and no shared secret (RFC 8725, 3.1)."""

LEEWAY_SECONDS = 30.0
"""Of clocks that differ."""

_TIMEOUT_SECONDS = 5.0
_LONGEST = 16_384


class Tokens:
    """Checks tokens of one provider (RFC 7519), whose keys it fetches and keeps for five minutes.

    Args:
        auth: Issuer, audience, and where roles stand.
    """

    def __init__(self, auth: OidcAuth) -> None:
        self._auth = auth
        self._keys = jwt.PyJWKClient(auth.jwks_url, timeout=_TIMEOUT_SECONDS)

    def read(self, token: str) -> tuple[str, frozenset[Role]]:
        """Who somebody is, and what they may do.

        Returns:
            The token's subject, or its hash where it is long; and the roles, maybe none.

        Raises:
            NotIdentified: If the token is not good.
            NetworkUnavailable: If the provider's keys cannot be fetched.
        """
        if len(token) > _LONGEST:
            raise _refused("a token that is too long")
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._auth.issuer,
                audience=self._auth.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise NetworkUnavailable(
                "Tokens are checked by the keys of their provider.",
                received="no answer from where the provider's keys are",
                cure="Try again later; check auth.jwks_url.",
            ) from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused(f"a token that is not good ({type(error).__name__})") from error
        return _short(str(claims["sub"])), self._roles(claims)

    def _roles(self, claims: dict[str, Any]) -> frozenset[Role]:
        """Roles by a claim, which may lie deeper: `realm_access.roles`."""
        found: Any = claims
        for part in self._auth.roles_claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        words = found.split() if isinstance(found, str) else found
        if not isinstance(words, list):
            return frozenset()
        return frozenset(
            self._auth.roles[w] for w in words if isinstance(w, str) and w in self._auth.roles
        )


def _short(subject: str) -> str:
    if len(subject) <= 100 and subject.isprintable():
        return subject
    return hashlib.sha256(subject.encode(errors="replace")).hexdigest()


def _refused(received: str) -> NotIdentified:
    return NotIdentified(
        "A token is signed by its provider, made for this service, and still good.",
        received=received,
        cure="Get a new one from the provider.",
    )
