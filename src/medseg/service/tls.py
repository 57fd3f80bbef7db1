"""TLS for all doors: at least version 1.2, and where asked for both sides show who they are."""

import ssl
from pathlib import Path

from medseg.errors import InvalidSettings
from medseg.service.settings import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """For a door that listens: HTTP and DICOM alike.

    Args:
        tls: With `authorities`, who calls must show a certificate of one of them.

    Raises:
        InvalidSettings: If a file is missing, is no PEM, or key and certificate do not belong
            together.
    """
    context = _hardened(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls)
    if tls.authorities is not None:
        _trust(context, tls.authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """For a call to a DICOM node, which must be certified by `authorities` or the system's.

    Raises:
        InvalidSettings: If a file is missing, is no PEM, or key and certificate do not belong
            together.
    """
    context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, tls)
    if tls.authorities is None:
        context.load_default_certs()
    else:
        _trust(context, tls.authorities)
    return context


def _hardened(protocol: int) -> ssl.SSLContext:
    """Versions and ciphers of BCP 195 (RFC 9325), which PS3.15, B.9 asks for."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (OSError, ValueError) as error:  # `ssl.SSLError` is an OSError
        raise InvalidSettings(
            "A TLS identity is a certificate and its private key, in PEM, without a password.",
            received=f"{tls.certificate} and {tls.key}: {_reason(error)}",
            cure="Check tls.certificate and tls.key.",
        ) from error


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise InvalidSettings(
            "Authorities of TLS are certificates in PEM.",
            received=f"{authorities}: {_reason(error)}",
            cure="Check tls.authorities.",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


def _no_password() -> str:
    raise ValueError("a key with a password")
