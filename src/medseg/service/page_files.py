"""The web page: files that come with the package, behind a policy that lets nothing else in."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}
"""No script but the page's own files, no other host, no frame around it; asked for anew each time,
which an ETag answers with 304."""


def page_routes() -> APIRouter:
    """`/` and `/page/...`. They hold nothing of anybody, so they need no key."""
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=FOLDER)

    async def answer(name: str, request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(HEADERS)
        return response

    @router.get("/")
    async def index(request: Request) -> Response:
        return await answer("index.html", request)

    @router.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        return await answer(name, request)

    return router
