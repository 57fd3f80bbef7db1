"""A worker slot: one DBOS executor that carries out one job at a time, under a name that it keeps.

A slot that is killed and started again under its name takes up its own jobs. Slots of a machine
that is lost are seen by their heartbeat, and another slot takes their jobs up.
"""

import contextlib
import fcntl
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dbos import DBOS, DBOSPortableJSONSerializer

from medseg.errors import InvalidSettings
from medseg.service.attempt import Child
from medseg.service.database import Database
from medseg.service.heartbeat import beat, forget, leave, take_lost
from medseg.service.held import Held
from medseg.service.jobs import Jobs
from medseg.service.logs import tame
from medseg.service.queue import APPLICATION, QUEUE, VERSION, queue_url
from medseg.service.settings import Limits
from medseg.service.workflow import Slot, register

POLLING_SECONDS = 0.05
"""How long a job waits for a slot that has nothing to do, at most."""

BEAT_SECONDS = 2.0

PATIENCE_SECONDS = 10.0
"""How long a slot waits for another one of its name, as after a restart of the service."""

_log = logging.getLogger("medseg.service.worker")


def default_slot(number: int = 0) -> str:
    """Name of a slot of this machine."""
    return f"{socket.gethostname()}-{number}"


@contextlib.contextmanager
def only_one(data: Path, slot: str, *, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold the name of a slot: two living processes never share one.

    Args:
        data: The data folder.
        slot: The name.
        patience_seconds: How long to wait for a process that has it and ends.

    Raises:
        InvalidSettings: If another process has it.
    """
    until = time.monotonic() + patience_seconds
    folder = data / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", slot)
    with (folder / f"{name}.lock").open("w") as file:
        while not _is_locked(file):
            if time.monotonic() >= until:
                raise InvalidSettings(
                    "Each worker slot has a name of its own.",
                    received=f"{slot}, which another process has",
                    cure="Choose another name with --slot.",
                )
            time.sleep(0.1)
        yield


def _is_locked(file: TextIO) -> bool:
    """Lock a file, unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def run_worker(
    url: str,
    data: Path,
    slot: str,
    limits: Limits,
    stop: threading.Event,
    *,
    bundle: Path | None = None,
) -> None:
    """Carry out jobs until told to stop.

    Args:
        url: The service's database.
        data: The data folder.
        slot: Name that this slot keeps over restarts.
        limits: Attempts, seconds, memory.
        stop: Set to end; a job that runs is left to whoever comes next.
        bundle: Made ready before the first job comes.

    Raises:
        InvalidSettings: If the database cannot be reached, or another process has the name.
    """
    with only_one(data, slot, patience_seconds=PATIENCE_SECONDS):
        database = Database(url)
        held, jobs = Held(database, data, limits), Jobs(database)
        child = Child(limits.job_memory_bytes, bundle)
        register(Slot(database, held, jobs, child, limits, data))
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": queue_url(url),
                "executor_id": slot,
                "application_version": VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "WARNING",
            }
        )
        tame(("dbos",))
        beat(database, slot)
        child.start()
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=POLLING_SECONDS)
        _log.info("worker.started", extra={"slot": slot})
        try:
            while not stop.wait(BEAT_SECONDS):
                beat(database, slot)
                lost = take_lost(database, slot)
                if lost:
                    _log.warning("worker.recovers", extra={"slots": len(lost)})
                    DBOS._recover_pending_workflows(lost)
                    forget(database, lost)
        finally:
            child.close()
            DBOS.destroy(workflow_completion_timeout_sec=0)
            leave(database, slot)
            database.close()


def stop_on_signals(parent: int | None = None) -> threading.Event:
    """An event that SIGTERM and SIGINT set.

    Args:
        parent: Id of the process that started this one: when it is gone the event is set too. None
            where nobody needs to live on.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def watch() -> None:
        while not stop.wait(1.0):
            if os.getppid() != parent:
                stop.set()

    if parent is not None:
        threading.Thread(target=watch, daemon=True, name="parent-watch").start()
    return stop
