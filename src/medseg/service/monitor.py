"""Whether the service lives, whether it can work, and its numbers: three routes for machines."""

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from medseg.errors import MedsegError
from medseg.service.auth import Caller, require
from medseg.service.database import Database
from medseg.service.heartbeat import living
from medseg.service.metrics import Metrics
from medseg.service.models import Models
from medseg.specs.base import FROZEN

_KEPT_SECONDS = 1.0
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Alive(BaseModel):
    """That the process answers.

    Attributes:
        status: Always "ok".
    """

    model_config = FROZEN

    status: str = "ok"


class Ready(BaseModel):
    """Whether a study that is sent now will be segmented.

    Attributes:
        ready: Whether all checks are well.
        checks: By name `database`, `data`, `workers` and `models`: "ok", or what is wrong.
    """

    model_config = FROZEN

    ready: bool
    checks: dict[str, str]


class Readiness:
    """Looks at what the service needs, at most once a second however often it is asked.

    Args:
        database: Must answer.
        data: Must take a file.
        models: Must be whole on the disk.
        workers: How many slots must have been seen lately.
    """

    def __init__(self, database: Database, data: Path, models: Models, *, workers: int = 1) -> None:
        self._checks: dict[str, Callable[[], str]] = {
            "database": lambda: _database(database),
            "data": lambda: _data(data),
            "workers": lambda: _workers(database, workers),
            "models": lambda: _models(models),
        }
        self._lock = threading.Lock()
        self._last: tuple[float, Ready] | None = None

    def look(self) -> Ready:
        """What the checks say."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _KEPT_SECONDS:
                checks = {name: check() for name, check in self._checks.items()}
                ready = all(words == "ok" for words in checks.values())
                self._last = time.monotonic(), Ready(ready=ready, checks=checks)
            return self._last[1]


def monitor_routes(readiness: Readiness, metrics: Metrics) -> APIRouter:
    """`/healthz` and `/readyz`, which need no key and say nothing of studies, and `/metrics`.

    Args:
        readiness: What `/readyz` asks.
        metrics: What `/metrics` shows, to who may read.
    """
    router = APIRouter(tags=["operation"])

    @router.get("/healthz")
    async def alive() -> Alive:
        """The process answers."""
        return Alive()

    @router.get("/readyz", responses={503: {"model": Ready}})
    def ready(response: Response) -> Ready:
        """Database, data folder, workers and models are there; 503 if one of them is not."""
        found = readiness.look()
        response.status_code = 200 if found.ready else 503
        return found

    @router.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
    )
    def numbers(_: Annotated[Caller, Depends(require("read"))]) -> Response:
        """Numbers in Prometheus' text format."""
        return Response(metrics.text(), media_type=TEXT_FORMAT)

    return router


def _database(database: Database) -> str:
    try:
        with database.reading() as connection:
            connection.execute(select(1)).scalar_one()
    except SQLAlchemyError:
        return "the database does not answer"
    return "ok"


def _data(data: Path) -> str:
    probe = data / "incoming" / f".probe-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        return f"the data folder takes no file: {error.strerror}"
    return "ok"


def _workers(database: Database, wanted: int) -> str:
    try:
        seen = living(database)
    except SQLAlchemyError:
        return "the database does not answer"
    return "ok" if seen >= wanted else f"{seen} worker slots were seen lately, {wanted} are needed"


def _models(models: Models) -> str:
    try:
        models.every()
    except MedsegError as error:
        return f"a model cannot be used: {error.code}"
    except OSError:
        return "a model cannot be read"
    return "ok"
