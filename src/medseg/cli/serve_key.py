"""`medseg serve-key`: API keys of the service are made, listed and revoked."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg.cli.console import Console, reporting
from medseg.cli.serve import Url

if TYPE_CHECKING:
    from medseg.service.audit import Audit
    from medseg.service.keys import ApiKeys

app = typer.Typer(
    help="Make, list and revoke the API keys of the service.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Whom the key is for; the audit log calls it so.")]
Settings = Annotated[
    Path | None, typer.Option("--settings", help="The settings file of the service.")
]
Data = Annotated[Path | None, typer.Option("--data", help="The data folder of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


@app.command("create")
def create(
    name: Name,
    role: Annotated[
        Literal["send", "read", "admin"],
        typer.Option(help="send: send studies and see their results; read: see all; admin: all."),
    ],
    settings: Settings = None,
    data: Data = None,
    database: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    with reporting(as_json=as_json) as console, _opened(settings, data, database) as (keys, audit):
        text = keys.create(name, role)
        audit.note("changed", "operator", "key", name, outcome="created")
        console.say(text)
        _note(console, "It is held as a hash only: keep it now, it is not shown again.")
        console.result({"name": name, "role": role, "key": text})


@app.command("list")
def list_keys(
    settings: Settings = None, data: Data = None, database: Url = None, as_json: AsJson = False
) -> None:
    """List all keys; their secrets are held nowhere."""
    with reporting(as_json=as_json) as console, _opened(settings, data, database) as (keys, _):
        found = keys.every()
        rows = [[one.name, one.role, _day(one.created_at), _day(one.revoked_at)] for one in found]
        console.table("API keys", ["name", "role", "created", "revoked"], rows)
        console.result({"keys": [vars(one) for one in found]})


@app.command("revoke")
def revoke(
    name: Name,
    settings: Settings = None,
    data: Data = None,
    database: Url = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: from now on it opens nothing."""
    with reporting(as_json=as_json) as console, _opened(settings, data, database) as (keys, audit):
        keys.revoke(name)
        audit.note("changed", "operator", "key", name, outcome="revoked")
        console.say(f"{name} is revoked.")
        console.result({"name": name, "revoked": True})


@contextmanager
def _opened(
    settings: Path | None, data: Path | None, database: str | None
) -> "Iterator[tuple[ApiKeys, Audit]]":
    from medseg.cli.extras import require_service

    require_service()

    from medseg.service.audit import Audit
    from medseg.service.database import Database
    from medseg.service.keys import ApiKeys
    from medseg.service.pseudonyms import Pseudonyms
    from medseg.service.settings import read_settings

    given: dict[str, Any] = {"data": data, "database_url": database}
    given = {name: value for name, value in given.items() if value is not None}
    otherwise = {"data": Path("medseg-data"), "models": ("hippocampus-mr",)}
    known = read_settings(settings, given, otherwise)
    pseudonyms = Pseudonyms.of_folder(known.data)
    opened = Database(known.url)
    try:
        yield ApiKeys(opened), Audit(opened, pseudonyms)
    finally:
        opened.close()


def _note(console: Console, words: str) -> None:
    """Tell people on stderr, so that stdout holds the key alone."""
    if not console.as_json:
        typer.echo(words, err=True)


def _day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
