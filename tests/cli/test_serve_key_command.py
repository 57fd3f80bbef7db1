"""`medseg serve-key`, as somebody who runs the service types it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.service.audit import Audit
from medseg.service.database import Database
from medseg.service.keys import ApiKeys
from medseg.service.pseudonyms import Pseudonyms

RUNNER = CliRunner()


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    where = ["--data", str(tmp_path)]
    made = RUNNER.invoke(app, ["serve-key", "create", "scanner", "--role", "send", *where])
    assert made.exit_code == 0
    text = made.stdout.strip()
    database = Database(f"sqlite:///{tmp_path / 'medseg.sqlite'}")
    found = ApiKeys(database).find(text)
    assert found is not None
    assert found.role == "send"
    listed = RUNNER.invoke(app, ["serve-key", "list", "--json", *where])
    assert [one["name"] for one in json.loads(listed.stdout)["keys"]] == ["scanner"]
    assert text.split("_", 2)[2] not in listed.stdout
    assert RUNNER.invoke(app, ["serve-key", "revoke", "scanner", *where]).exit_code == 0
    assert ApiKeys(database).find(text) is None
    noted = Audit(database, Pseudonyms.of_folder(tmp_path)).of("key", "scanner")
    assert [row["outcome"] for row in noted] == ["created", "revoked"]


def test_settings_say_where_and_need_not_name_a_model(tmp_path: Path) -> None:
    settings = tmp_path / "service.toml"
    settings.write_text(f'data = "{tmp_path / "held"}"\n')
    made = RUNNER.invoke(
        app, ["serve-key", "create", "a", "--role", "read", "--settings", str(settings), "--json"]
    )
    assert json.loads(made.stdout)["role"] == "read"
    assert (tmp_path / "held" / "medseg.sqlite").exists()


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    failed = RUNNER.invoke(app, ["serve-key", "revoke", "nobody", "--data", str(tmp_path)])
    assert failed.exit_code == 1
    assert "error [service-not-held]" in failed.stderr
    wrong = ["--database", "nonsense://x", "--data", str(tmp_path)]
    assert RUNNER.invoke(app, ["serve-key", "list", *wrong]).exit_code == 1
    assert RUNNER.invoke(app, ["serve-key", "create", "a", "--role", "root"]).exit_code == 2
