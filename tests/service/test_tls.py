"""TLS: who shows what to whom."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from medseg.errors import InvalidSettings
from medseg.service.settings import Tls
from medseg.service.tls import client_context, server_context


def identity(folder: Path, name: str, password: bytes | None = None) -> Tls:
    """A certificate that is its own authority, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    sealed = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    chain, secret = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)
    )
    return Tls(certificate=chain, key=secret)


def trusting(tls: Tls, other: Tls) -> Tls:
    return tls.model_copy(update={"authorities": other.certificate})


def talk(server: Tls, client: ssl.SSLContext) -> str:
    """Send a word through TLS; the version that was agreed on."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)

    def serve() -> None:
        try:
            raw, _ = listening.accept()
            with server_context(server).wrap_socket(raw, server_side=True) as opened:
                opened.sendall(opened.recv(5))
        except OSError:
            pass

    thread = Thread(target=serve, daemon=True)
    thread.start()
    try:
        with (
            socket.create_connection(listening.getsockname(), timeout=5) as raw,
            client.wrap_socket(raw, server_hostname="127.0.0.1") as opened,
        ):
            opened.sendall(b"hello")
            assert opened.recv(5) == b"hello"
            return str(opened.version())
    finally:
        thread.join(5)
        listening.close()


def test_both_sides_show_who_they_are(tmp_path: Path) -> None:
    here, there = identity(tmp_path, "here"), identity(tmp_path, "there")
    assert talk(trusting(here, there), client_context(trusting(there, here))) == "TLSv1.3"


def test_a_caller_without_a_known_certificate_is_not_let_in(tmp_path: Path) -> None:
    here, there, foreign = (identity(tmp_path, name) for name in ("here", "there", "foreign"))
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        talk(trusting(here, there), client_context(trusting(foreign, here)))


def test_a_server_that_is_not_certified_is_not_talked_to(tmp_path: Path) -> None:
    here, foreign = identity(tmp_path, "here"), identity(tmp_path, "foreign")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        talk(here, client_context(trusting(here, foreign)))


def test_old_versions_are_not_spoken(tmp_path: Path) -> None:
    here = identity(tmp_path, "here")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert talk(here, old) == "TLSv1.2"
    assert server_context(here).minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_are_no_identity_are_named(tmp_path: Path) -> None:
    here, other = identity(tmp_path, "here"), identity(tmp_path, "other")
    locked = identity(tmp_path, "locked", b"password")
    missing = here.model_copy(update={"certificate": tmp_path / "none.pem"})
    mixed = here.model_copy(update={"key": other.key})
    for tls, words in ((missing, "No such file"), (mixed, "key values mismatch"),
                       (locked, "without a password")):  # fmt: skip
        with pytest.raises(InvalidSettings, match=words):
            server_context(tls)
    bad = here.model_copy(update={"authorities": here.key})
    with pytest.raises(InvalidSettings, match="Authorities of TLS"):
        client_context(bad)
