"""Requests in logs and counts: by route, never by path."""

import logging
from collections.abc import Iterator

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from medseg.service.access import Access

UID = "1.2.826.0.1.3680043.8.498.12345"


@pytest.fixture
def told() -> list[tuple[str, str, int, float]]:
    return []


@pytest.fixture
def client(told: list[tuple[str, str, int, float]]) -> Iterator[TestClient]:
    app = FastAPI()
    router = APIRouter(prefix="/dicomweb")

    @router.get("/studies/{study_uid}")
    def study(study_uid: str) -> str:
        return study_uid

    @router.get("/broken")
    def broken() -> None:
        raise RuntimeError("broken")

    @app.get("/healthz")
    def alive() -> str:
        return "ok"

    app.include_router(router)
    app.add_middleware(Access, told=lambda *words: told.append(words))
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def test_a_request_is_told_by_its_route(
    client: TestClient, told: list[tuple[str, str, int, float]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="medseg.service.access")
    client.get(f"/dicomweb/studies/{UID}?PatientName=Doe")
    client.get(f"/nothing/{UID}")
    client.post(f"/dicomweb/studies/{UID}")
    client.get("/dicomweb/broken")
    client.get("/healthz")
    assert [words[:3] for words in told] == [
        ("GET", "/dicomweb/studies/{study_uid}", 200),
        ("GET", "unknown", 404),
        ("POST", "/dicomweb/studies/{study_uid}", 405),
        ("GET", "/dicomweb/broken", 500),
        ("GET", "/healthz", 200),
    ]
    lines = [vars(record) for record in caplog.records]
    assert [line["status"] for line in lines] == [200, 404, 405, 500]
    assert lines[0]["sent_bytes"] == len(UID) + 2
    assert UID not in str(lines)
    assert "Doe" not in str(lines)


def test_made_up_methods_become_one_word(
    client: TestClient, told: list[tuple[str, str, int, float]]
) -> None:
    client.request("PATIENT-DOE", "/healthz")
    assert told[0][0] == "unknown"
