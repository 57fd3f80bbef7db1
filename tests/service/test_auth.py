"""Who is let in, as a client sees it."""

from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from medseg.errors import MedsegError, NotIdentified
from medseg.service.audit import Audit
from medseg.service.auth import Caller, Gate, require
from medseg.service.database import Database
from medseg.service.keys import ApiKeys
from medseg.service.problems import handle
from medseg.service.pseudonyms import Pseudonyms
from medseg.service.settings import Auth, KeyAuth, NoAuth


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")


def client(database: Database, auth: Auth) -> TestClient:
    app = FastAPI()
    app.state.gate = Gate(auth, database, Audit(database, Pseudonyms.passing()))
    app.add_exception_handler(MedsegError, handle)

    @app.get("/own")
    def own(caller: Annotated[Caller, Depends(require("send", "read"))]) -> dict[str, object]:
        return {"name": caller.name, "others": caller.sees_only is None}

    @app.get("/all")
    def everything(caller: Annotated[Caller, Depends(require("read"))]) -> None: ...

    @app.delete("/all")
    def remove(caller: Annotated[Caller, Depends(require("admin"))]) -> None: ...

    return TestClient(app)


def test_without_auth_everybody_may_do_everything(database: Database) -> None:
    answers = client(database, NoAuth())
    assert answers.get("/own").json() == {"name": "anybody", "others": True}
    assert answers.delete("/all").status_code == 200


@pytest.mark.parametrize(
    ("role", "own", "everything", "remove", "others"),
    [
        ("send", 200, 403, 403, False),
        ("read", 200, 200, 403, True),
        ("admin", 200, 200, 200, True),
    ],
)
def test_a_role_opens_what_it_opens(
    database: Database, role: str, own: int, everything: int, remove: int, others: bool
) -> None:
    key = ApiKeys(database).create(role, role)  # type: ignore[arg-type]
    answers = client(database, KeyAuth())
    for header in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        assert answers.get("/own", headers=header).json() == {
            "name": f"key:{role}",
            "others": others,
        }
        assert answers.get("/own", headers=header).status_code == own
        assert answers.get("/all", headers=header).status_code == everything
        assert answers.delete("/all", headers=header).status_code == remove


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "ms_wrong"},
        {"Authorization": "Bearer ms_wrong"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"X-API-Key": ""},
    ],
)
def test_nobody_is_asked_who_they_are_and_nothing_more_is_told(
    database: Database, headers: dict[str, str]
) -> None:
    ApiKeys(database).create("scanner", "send")
    answer = client(database, KeyAuth()).get("/own", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "service-not-identified"
    assert "scanner" not in answer.text


def test_refusals_are_noted_once_a_minute_for_each_address(database: Database) -> None:
    log = Audit(database, Pseudonyms.passing())
    gate = Gate(KeyAuth(), database, log)
    for origin in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1"):
        with pytest.raises(NotIdentified, match="asks who calls"):
            gate.caller(None, origin)
        gate.note_refusal("nobody", origin, "401")
    assert sorted(row["origin"] for row in log.newest()) == ["10.0.0.1", "10.0.0.2"]


def test_a_caller_sees_their_own_things() -> None:
    sender = Caller("key:a", frozenset({"send"}), "")
    assert sender.sees_only == "key:a"
    assert Caller("key:a", frozenset({"admin"}), "").sees_only is None
