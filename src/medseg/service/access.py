"""What was asked and how it was answered: one line and one count a request, by route, not path."""

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("medseg.service.access")

_QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds: counted, and not logged."""

_UNKNOWN = "unknown"

Told = Callable[[str, str, int, float], None]
"""Takes method, route, status and seconds of a request."""


class Access:
    """Middleware that tells of every request.

    Paths hold UIDs; the route that a request took, `/jobs/{job_id}`, holds none.

    Args:
        app: What answers.
        told: Told of each request too.
    """

    def __init__(self, app: ASGIApp, told: Told = lambda *_: None) -> None:
        self._app, self._told = app, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, sent_bytes, start = 500, 0, time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.monotonic() - start
            method, route = _word(scope["method"]), route_of(scope)
            self._told(method, route, status, seconds)
            if route not in _QUIET:
                _log.info(
                    "http.request",
                    extra={
                        "method": method,
                        "route": route,
                        "status": status,
                        "seconds": round(seconds, 4),
                        "sent_bytes": sent_bytes,
                    },
                )


def route_of(scope: Scope) -> str:
    """The template of the route that a request took; one word for all that took none.

    Args:
        scope: After it was answered.
    """
    path: Any = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else _UNKNOWN


def _word(method: str) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return method if method in known else _UNKNOWN
