"""The audit log: added to, never changed, and without names of patients."""

from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DatabaseError

from medseg.service.audit import Audit
from medseg.service.database import Database, audit
from medseg.service.pseudonyms import Pseudonyms

UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")


def test_who_knows_a_uid_finds_what_happened_to_it_and_the_table_holds_no_uid(
    database: Database, tmp_path: Path
) -> None:
    log = Audit(database, Pseudonyms.passing())
    log.note("sent", "ae:MR1", "study", UID, origin="10.0.0.7")
    log.note("read", "key:anna", "study", UID)
    log.note("read", "key:anna", "study", UID + ".1")
    assert [row["action"] for row in log.of("study", UID)] == ["sent", "read"]
    assert log.of("study", UID)[0]["origin"] == "10.0.0.7"
    assert UID not in str(log.newest())
    database.close()
    assert UID.encode() not in (tmp_path / "medseg.sqlite").read_bytes()


def test_rows_can_be_neither_changed_nor_removed(database: Database) -> None:
    log = Audit(database, Pseudonyms.passing())
    log.note("deleted", "key:root", "study", UID)
    for words in (delete(audit), update(audit).values(actor="nobody")):
        with pytest.raises(DatabaseError, match="append-only"), database.begin() as connection:
            connection.execute(words)
    assert len(log.newest()) == 1


def test_jobs_and_keys_are_called_by_their_names(database: Database) -> None:
    log = Audit(database, Pseudonyms.passing())
    log.note("changed", "operator", "key", "scanner", outcome="created")
    assert log.newest()[0]["subject"] == "key scanner"
    assert log.of("key", "scanner")[0]["outcome"] == "created"


def test_the_same_again_is_one_row_for_a_while(database: Database) -> None:
    log = Audit(database, Pseudonyms.passing())
    for uid in (UID, UID, UID + ".1", UID):
        log.note("read", "key:anna", "study", uid, every_seconds=60.0)
    assert len(log.newest()) == 2
    log.note("read", "key:anna", "study", UID)
    assert len(log.newest()) == 3


def test_long_words_are_cut_and_never_refused(database: Database) -> None:
    log = Audit(database, Pseudonyms.passing())
    log.note("refused", "x" * 500, "door", "y" * 500, outcome="z" * 500, origin="o" * 500)
    assert len(log.newest()[0]["subject"]) == 80
