"""API keys: who has one, and who had one."""

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from medseg.errors import InvalidSettings, NotHeld
from medseg.service import keys as module
from medseg.service.database import Database, api_keys
from medseg.service.keys import ApiKeys


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")


def test_a_key_opens_until_it_is_revoked_in_every_process(database: Database) -> None:
    keys, elsewhere = ApiKeys(database), ApiKeys(database)
    text = keys.create("scanner", "send")
    for one in (keys, elsewhere, keys):
        found = one.find(text)
        assert found is not None
        assert (found.name, found.role) == ("scanner", "send")
    elsewhere.revoke("scanner")
    assert keys.find(text) is None
    assert keys.every()[0].revoked_at is not None


def test_what_is_held_does_not_give_the_key_away(database: Database) -> None:
    keys = ApiKeys(database)
    text = keys.create("scanner", "send")
    assert re.fullmatch(r"ms_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    with database.reading() as connection:
        row = connection.execute(select(api_keys)).one()
    secret = text.split("_", 2)[2]
    assert secret not in " ".join(map(str, row))
    again = keys.create("other", "send")
    assert keys.find(f"ms_{row.id}_{again.split('_', 2)[2]}") is None


@pytest.mark.parametrize(
    "text", ["", "ms_", "ms_000000000000_" + "A" * 43, "' OR 1=1", "ms_\N{SNOWMAN}_x", "A" * 10_000]
)
def test_nothing_else_opens(database: Database, text: str) -> None:
    keys = ApiKeys(database)
    keys.create("scanner", "admin")
    assert keys.find(text) is None


def test_one_wrong_letter_opens_nothing_even_when_the_right_one_is_remembered(
    database: Database,
) -> None:
    keys = ApiKeys(database)
    text = keys.create("scanner", "admin")
    assert keys.find(text) is not None
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert keys.find(wrong) is None


def test_hashing_is_done_once_for_a_secret_that_is_right(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ApiKeys(database)
    text = keys.create("scanner", "send")
    made = []
    hashed = module._hashed
    monkeypatch.setattr(module, "_hashed", lambda *a: made.append(a) or hashed(*a))
    for _ in range(5):
        assert keys.find(text) is not None
    assert len(made) == 1


def test_names_are_unique_even_when_revoked_so_that_the_audit_log_stays_true(
    database: Database,
) -> None:
    keys = ApiKeys(database)
    keys.create("scanner", "send")
    keys.revoke("scanner")
    with pytest.raises(InvalidSettings, match="is or was another key's"):
        keys.create("scanner", "read")
    with pytest.raises(NotHeld, match="no good key"):
        keys.revoke("scanner")
    with pytest.raises(InvalidSettings, match="letters, digits"):
        keys.create("name with spaces", "read")
