"""Worker slots of this machine as processes: each is started again when it dies, under its name."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from medseg.service import DATABASE_VARIABLE
from medseg.service.settings import ServiceSettings
from medseg.service.worker import default_slot

_LOOK_SECONDS = 0.2
_SOONEST_SECONDS = 1.0
"""A slot that dies at once is not started more often than this."""

_PATIENCE_SECONDS = 10.0

NO_SECRETS: Mapping[str, str] = MappingProxyType({})

_log = logging.getLogger("medseg.service.supervise")


class Slots:
    """The worker processes of this machine.

    Args:
        commands: What starts each slot, by its name.
        secrets: Variables of their environment: what everybody on a machine can read of a process
            is its command, and nobody else its environment.
    """

    def __init__(
        self, commands: Mapping[str, Sequence[str]], secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        self._commands, self._environment = commands, {**os.environ, **secrets}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    def look(self) -> None:
        """Start what does not run."""
        for name, command in self._commands.items():
            process = self._processes.get(name)
            if process is not None and process.poll() is None:
                continue
            if time.monotonic() - self._started.get(name, -_SOONEST_SECONDS) < _SOONEST_SECONDS:
                continue
            if process is not None:
                _log.warning("slot.died", extra={"slot": name, "status": process.returncode})
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=self._environment
            )
            self._started[name] = time.monotonic()

    def watch(self, stop: threading.Event) -> None:
        """Look again and again until told to stop; then end them all."""
        while not stop.is_set():
            self.look()
            stop.wait(_LOOK_SECONDS)
        self.end()

    def end(self) -> None:
        """Ask all to end, and kill those that do not."""
        for process in self._processes.values():
            process.terminate()
        until = time.monotonic() + _PATIENCE_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes, by slot."""
        return {name: process.pid for name, process in self._processes.items()}


def commands_of(settings: ServiceSettings, settings_file: Path | None) -> dict[str, list[str]]:
    """What starts the slots that settings ask for; the database they are told by `secrets_of`."""
    words = [sys.executable, "-m", "medseg", "worker", "--data", str(settings.data)]
    words += ["--model", settings.models[0]]
    if settings_file is not None:
        words += ["--settings", str(settings_file)]
    words += ["--parent", str(os.getpid())]
    names = [default_slot(number) for number in range(settings.workers)]
    return {name: [*words, "--slot", name] for name in names}


def secrets_of(settings: ServiceSettings) -> dict[str, str]:
    """What slots must know that others must not read: the database's address with its password."""
    return {DATABASE_VARIABLE: settings.url}
