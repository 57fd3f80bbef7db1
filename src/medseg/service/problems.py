"""Errors as answers of HTTP: the code and the sentence, never a traceback."""

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from medseg.errors import (
    BadUpload,
    BundleError,
    CannotWrite,
    DicomError,
    FileError,
    JobFailed,
    MedsegError,
    NetworkUnavailable,
    NoRoom,
    NoRule,
    NotAllowed,
    NotHeld,
    NotIdentified,
    TooBusy,
    TooLarge,
    UnreadableFile,
)
from medseg.service.auth import CHALLENGE
from medseg.specs.base import FROZEN

_STATUS: tuple[tuple[type[MedsegError], int], ...] = (
    (NotIdentified, 401),
    (NotAllowed, 403),
    (NotHeld, 404),
    (NoRoom, 507),
    (TooLarge, 413),
    (BadUpload, 400),
    (UnreadableFile, 400),
    (JobFailed, 409),
    (NoRule, 422),
    (DicomError, 422),
    (CannotWrite, 507),
    (BundleError, 422),
    (FileError, 400),
    (NetworkUnavailable, 503),
    (TooBusy, 503),
)
"""The first class that an error is of decides."""

UNAUTHENTICATED, UNAVAILABLE = 401, 503

_AGAIN = {"Retry-After": "30"}
"""Seconds after which those who were turned away may try again."""


class Problem(BaseModel):
    """What an answer says where something went wrong.

    Attributes:
        code: For machines; see the page of all codes.
        message: For people: the rule, what was received, the cure.
    """

    model_config = FROZEN

    code: str
    message: str


def status_of(error: MedsegError) -> int:
    """The status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def answer(error: MedsegError) -> JSONResponse:
    """The answer for an error."""
    status = status_of(error)
    headers = {UNAUTHENTICATED: CHALLENGE, UNAVAILABLE: _AGAIN}.get(status)
    problem = Problem(code=error.code, message=str(error))
    return JSONResponse(problem.model_dump(), status_code=status, headers=headers)


async def handle(_: Request, error: Exception) -> JSONResponse:
    """FastAPI's handler of our errors."""
    assert isinstance(error, MedsegError)
    return answer(error)
