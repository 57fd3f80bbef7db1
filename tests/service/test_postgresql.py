"""The service on PostgreSQL, as workers on several machines need it: a server of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pretended_slots import started, wait_until
from small_service import phantom_nifti
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from medseg.errors import InvalidSettings
from medseg.service.audit import Audit
from medseg.service.database import Database, audit
from medseg.service.heartbeat import beat, leave, living, take_lost
from medseg.service.pseudonyms import Pseudonyms
from medseg.service.service import Service, open_service
from medseg.service.settings import ServiceSettings

pytestmark = pytest.mark.slow


def run(*words: str) -> None:
    """Run a program of PostgreSQL, which refuses to be run by root."""
    as_nobody = ("setpriv", "--reuid=nobody", "--clear-groups") if os.getuid() == 0 else ()
    subprocess.run([*as_nobody, *words], check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of an empty database."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="medseg-pg-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = str(folder / "db")
        run("initdb", "-D", place, "-U", "me", "-A", "trust", "--no-sync", "-E", "UTF8",
            "--locale=C")  # fmt: skip
        options = f"-k {folder} -h 127.0.0.1 -p {port} -F"
        run("pg_ctl", "-D", place, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", place, "-m", "immediate", "stop")


@pytest.fixture
def service(url: str, tmp_path: Path, bundle_folder: Path) -> Iterator[Service]:
    opened = open_service(
        ServiceSettings(data=tmp_path / "held", models=(str(bundle_folder),), database_url=url)
    )
    yield opened
    opened.close()


def submit(service: Service, file: Path, number: int) -> dict[str, Any]:
    arriving = service.held.incoming / "x"
    arriving.write_bytes(phantom_nifti(file).read_bytes() + bytes([number]))
    digest = service.held.put_upload(arriving, "x.nii.gz", "test")
    return service.submit_upload(digest, sender="test")


def test_a_peer_takes_over_from_a_machine_that_is_lost(service: Service, tmp_path: Path) -> None:
    jobs = [submit(service, tmp_path / "x.nii.gz", number) for number in range(3)]
    assert submit(service, tmp_path / "x.nii.gz", 0)["id"] == jobs[0]["id"]
    with started(service, "far", "hangs") as far:
        wait_until(lambda: "running" in service.jobs.counts())
        far.send_signal(signal.SIGKILL)
        far.wait()
        with started(service, "near", "works"):
            wait_until(lambda: service.jobs.counts() == {"done": 3})
    assert [service.jobs.get(job["id"])["attempts"] for job in jobs] == [1, 1, 1]


def test_heartbeats_go_by_the_clock_of_the_database(url: str) -> None:
    database = Database(url)
    before = living(database)
    beat(database, "a")
    beat(database, "b")
    assert living(database) == before + 2
    leave(database, "b")
    assert "b" in take_lost(database, "a")
    assert "b" not in take_lost(database, "a")
    database.close()


def test_the_audit_log_is_append_only(service: Service) -> None:
    Audit(service.database, Pseudonyms.passing()).note("sent", "me", "study", "1.2.3")
    with (
        pytest.raises(DBAPIError, match="append-only"),
        service.database.begin() as connection,
    ):
        connection.execute(update(audit).values(actor="somebody else"))
    with service.database.reading() as connection:
        assert set(connection.execute(select(audit.c.actor)).scalars()) == {"me"}


def test_a_database_that_is_not_there() -> None:
    began = time.monotonic()
    with pytest.raises(InvalidSettings, match="Check --database"):
        Database("postgresql+psycopg://me@127.0.0.1:9/medseg")
    assert time.monotonic() - began < 10
