"""A service without keys answers this machine only: not a web page that a browser here shows."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from medseg.errors import NotAllowed

_SAFE = ("GET", "HEAD", "OPTIONS")


class LoopbackOnly:
    """Middleware that keeps foreign web pages out.

    A page of another host can name a host of its own and let that name point to 127.0.0.1 (DNS
    rebinding): requests then carry that name, so `Host` must be one of this machine. It can also
    let a form or script send to 127.0.0.1 itself: browsers then say where it comes from, in
    `Origin` and `Sec-Fetch-Site`, so that must be the service's own page. Clients that are no
    browser send neither of these.

    Args:
        app: What is protected.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] == "http":
            error = refusal(scope["method"], Headers(scope=scope))
            if error is not None:
                words = {"code": error.code, "message": str(error)}
                await JSONResponse(words, status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal(method: str, headers: Headers) -> NotAllowed | None:
    """What there is to say against a request; None for nothing.

    Args:
        method: Of the request.
        headers: Of the request.
    """
    host = headers.get("host", "")
    if not _is_this_machine(host):
        return NotAllowed(
            "Without keys the service answers to names of this machine only.",
            received="another name in the header Host",
            cure="Call it as 127.0.0.1 or localhost, or give it [auth].",
        )
    if method in _SAFE:
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site in ("none", "same-origin") and (origin is None or urlsplit(origin).netloc == host):
        return None
    return NotAllowed(
        "Without keys only the service's own page may send from a browser.",
        received="a request of another page",
        cure="Use the service's page, a client that is no browser, or give the service [auth].",
    )


def _is_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
