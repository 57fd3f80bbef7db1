"""Health and readiness."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from medseg.errors import CorruptBundle, MedsegError
from medseg.service.auth import Gate
from medseg.service.database import Database
from medseg.service.heartbeat import beat, leave
from medseg.service.keys import ApiKeys
from medseg.service.metrics import Metrics
from medseg.service.models import Models
from medseg.service.monitor import Readiness, monitor_routes
from medseg.service.problems import handle
from medseg.service.settings import KeyAuth


@pytest.fixture
def database(tmp_path: Path) -> Database:
    (tmp_path / "incoming").mkdir()
    return Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")


@pytest.fixture
def readiness(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Readiness:
    monkeypatch.setattr("medseg.service.monitor._KEPT_SECONDS", 0.0)
    return Readiness(database, tmp_path, Models(("hippocampus-mr",)))


@pytest.fixture
def client(database: Database, readiness: Readiness) -> TestClient:
    app = FastAPI()
    app.state.gate = Gate(KeyAuth(), database)
    app.include_router(monitor_routes(readiness, Metrics(database)))
    app.add_exception_handler(MedsegError, handle)
    return TestClient(app)


def test_ready_needs_a_worker_that_was_seen(client: TestClient, database: Database) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "0 worker slots" in answer.json()["checks"]["workers"]
    beat(database, "here-0")
    answer = client.get("/readyz")
    assert answer.json() == {
        "ready": True,
        "checks": dict.fromkeys(("database", "data", "workers", "models"), "ok"),
    }
    leave(database, "here-0")
    assert client.get("/readyz").status_code == 503


def test_what_is_wrong_is_named(
    readiness: Readiness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    def corrupt(_: Models) -> None:
        raise CorruptBundle("A bundle is as it was written.")

    (tmp_path / "incoming").rmdir()
    monkeypatch.setattr(Models, "every", corrupt)
    monkeypatch.setattr(Database, "reading", lambda _: database.engine.connect())
    checks = readiness.look().checks
    assert "takes no file" in checks["data"]
    assert "bundle-corrupt" in checks["models"]


def test_a_database_that_is_away_is_told(
    readiness: Readiness, database: Database, tmp_path: Path
) -> None:
    database.close()
    for path in tmp_path.glob("medseg.sqlite*"):
        path.unlink()
    (tmp_path / "medseg.sqlite").mkdir()
    assert "does not answer" in readiness.look().checks["database"]


def test_numbers_are_for_who_may_read(client: TestClient, database: Database) -> None:
    assert client.get("/metrics").status_code == 401
    key = ApiKeys(database).create("prometheus", "read")
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'medseg_jobs{state="queued"} 0.0' in answer.text
    sender = ApiKeys(database).create("scanner", "send")
    assert client.get("/metrics", headers={"X-API-Key": sender}).status_code == 403
