"""The service as one process: HTTP, the door for DICOM, loops, and the worker slots it starts."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from medseg.service.app import create_app
from medseg.service.dimse import Door
from medseg.service.logs import start_logs
from medseg.service.loops import Loop, loops_of, remember_forgotten, start
from medseg.service.outbox import delivery_loops
from medseg.service.service import open_service
from medseg.service.settings import ServiceSettings
from medseg.service.supervise import Slots, commands_of, secrets_of
from medseg.service.tls import server_context

_log = logging.getLogger("medseg.service.serve")

_GRACE_SECONDS = 5


def serve(
    settings: ServiceSettings,
    settings_file: Path | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until a signal says to end.

    Args:
        settings: What was set.
        settings_file: Where it was read from; workers read it too.
        ready: Told the address when requests are answered.

    Raises:
        InvalidSettings: If something that was set is not there.
        UnknownBundle: If a model is not there.
        CannotWrite: If the data folder cannot be made, or an address is taken.
    """
    service = open_service(settings)
    start_logs(service.pseudonyms)
    stop = threading.Event()
    slots = Slots(commands_of(settings, settings_file), secrets_of(settings))
    loops: tuple[Loop, ...] = (*loops_of(service), *delivery_loops(service))
    door = None if settings.dimse is None else Door(service, settings.dimse)
    threads = []
    try:
        remember_forgotten(service)
        threads = start(loops, stop)
        watcher = threading.Thread(target=slots.watch, args=(stop,), name="slots")
        watcher.start()
        threads.append(watcher)
        _Server(_config(settings, create_app(service)), ready).run()
    finally:
        stop.set()
        if door is not None:
            door.close()
        for thread in threads:
            thread.join(timeout=15)
        service.close()


def _config(settings: ServiceSettings, app: object) -> uvicorn.Config:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    if settings.tls is not None:
        config.load()
        config.ssl = server_context(settings.tls)
    return config


class _Server(uvicorn.Server):
    """Tells its address when it listens: with port 0 the system chooses one."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal that was heeded is not raised once more: that would make the end a failure."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def startup(self, sockets: "list[object] | None" = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.should_exit:
            return
        port = self.servers[0].sockets[0].getsockname()[1]
        kind = "https" if self.config.ssl is not None else "http"
        self._ready(f"{kind}://{self.config.host}:{port}")
