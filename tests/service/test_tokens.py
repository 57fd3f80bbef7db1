"""Tokens of a provider: only good ones say who somebody is."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from medseg.errors import NetworkUnavailable, NotIdentified
from medseg.service.settings import OidcAuth
from medseg.service.tokens import Tokens

KEY, FOREIGN = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ISSUER = "https://login.hospital"
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": "medseg", "sub": "anna", "exp": time.time() + 600,
                          "roles": ["read", "gardener"]}  # fmt: skip


@pytest.fixture(scope="module")
def jwks_url() -> Iterator[str]:
    """A provider's keys, on loopback."""
    key = json.loads(ECAlgorithm.to_jwk(KEY.public_key())) | {"kid": "one", "use": "sig"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": [key]}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    server.server_close()


def auth(url: str, **words: Any) -> OidcAuth:
    return OidcAuth(issuer=ISSUER, audience="medseg", jwks_url=url, **words)


def token(key: Any = KEY, algorithm: str = "ES256", kid: str = "one", **changed: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changed).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def test_a_good_token_says_who_and_what(jwks_url: str) -> None:
    assert Tokens(auth(jwks_url)).read(token()) == ("anna", frozenset({"read"}))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://login.elsewhere"},
        {"aud": "another-service"},
        {"exp": time.time() - 60},
        {"exp": None},
        {"sub": None},
        {"nbf": time.time() + 600},
        {"key": FOREIGN},
        {"kid": "two"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_token_that_is_not_good_says_nothing(jwks_url: str, changed: dict[str, Any]) -> None:
    with pytest.raises(NotIdentified, match="not good"):
        Tokens(auth(jwks_url)).read(token(**changed))


def test_a_public_key_is_no_shared_secret(jwks_url: str) -> None:
    """Signing by HMAC with the public key is a known attack on loose checkers."""
    public = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    begin = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "one"}, CLAIMS)
    )
    signature = hmac.new(public, begin.encode(), hashlib.sha256).digest()
    by_hand = f"{begin}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    for forged in (by_hand, token(None, "none")):
        with pytest.raises(NotIdentified, match="not good"):
            Tokens(auth(jwks_url)).read(forged)


@pytest.mark.parametrize("text", ["", "a.b.c", "ms_0_x", "\N{SNOWMAN}", "e30.e30.", "x" * 20_000])
def test_any_other_text_is_refused_in_words(jwks_url: str, text: str) -> None:
    with pytest.raises(NotIdentified, match="Get a new one"):
        Tokens(auth(jwks_url)).read(text)


@pytest.mark.parametrize(
    ("claim", "value", "roles"),
    [
        ("roles", "send admin", {"send", "admin"}),
        ("realm_access.roles", None, set()),
        ("roles", 7, set()),
        ("roles", [7, None, "admin"], {"admin"}),
    ],
)
def test_roles_are_found_in_lists_and_words(
    jwks_url: str, claim: str, value: Any, roles: set[str]
) -> None:
    found = Tokens(auth(jwks_url, roles_claim=claim)).read(token(roles=value))
    assert found[1] == roles


def test_roles_may_lie_deeper_and_have_names_of_the_hospital(jwks_url: str) -> None:
    tokens = Tokens(
        auth(jwks_url, roles_claim="realm_access.roles", roles={"radiology-lead": "admin"})
    )
    assert tokens.read(token(realm_access={"roles": ["radiology-lead", "admin"]}))[1] == {"admin"}


def test_a_long_subject_becomes_its_hash(jwks_url: str) -> None:
    assert len(Tokens(auth(jwks_url)).read(token(sub="x" * 300))[0]) == 64


def test_a_provider_that_is_away_is_told_apart_from_a_bad_token() -> None:
    with pytest.raises(NetworkUnavailable, match="no answer from where"):
        Tokens(auth("http://127.0.0.1:9/keys")).read(token())
