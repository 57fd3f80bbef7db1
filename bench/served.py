"""What scripts about the service share: one that runs in its own processes, and what it holds."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

_START_SECONDS = 180.0


@dataclass
class Served:
    """A service that runs.

    Attributes:
        address: Of HTTP.
        data: Its data folder.
        log: What it and its workers wrote on stderr.
        process: The service itself.
    """

    address: str
    data: Path
    log: Path
    process: subprocess.Popen[str]

    def client(self, seconds: float = 60.0) -> httpx.Client:
        """Somebody who asks; a request takes so long at most."""
        return httpx.Client(base_url=self.address, timeout=seconds)

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory by kind of process: the service, its slots, and their children."""
        found = dict.fromkeys(("service", "slots", "children"), 0)
        with contextlib.suppress(psutil.NoSuchProcess):
            found["service"] = psutil.Process(self.process.pid).memory_info().rss
            for one in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    kind = "children" if "medseg.service.child" in one.cmdline() else "slots"
                    found[kind] = max(found[kind], one.memory_info().rss)
        return found


@dataclass
class Peaks:
    """The most that was held, sampled ten times a second while a block runs."""

    served: Served
    bytes: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def watched(self) -> Iterator["Peaks"]:
        """Sample until the block ends."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.1):
                for kind, held in self.served.memory_bytes().items():
                    self.bytes[kind] = max(self.bytes.get(kind, 0), held)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()


@contextlib.contextmanager
def serving(
    folder: Path, *, model: str = "hippocampus-mr", settings: str = "", workers: int = 1,
    environment: Mapping[str, str] | None = None, options: tuple[str, ...] = (),
) -> Iterator[Served]:  # fmt: skip
    """Run `medseg serve` in a folder, on a port that is free, until the block ends.

    Args:
        folder: Holds the data folder, the settings and the log.
        model: Name or folder of a bundle.
        settings: TOML.
        workers: Slots.
        environment: Of all its processes; None for this one's.
        options: Further words of the command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.toml").write_text(settings)
    command = [
        sys.executable, "-m", "medseg", "serve", "--json", "--port", "0", "--model", model,
        "--data", str(folder / "data"), "--workers", str(workers),
        "--settings", str(folder / "service.toml"), *options,
    ]  # fmt: skip
    with (folder / "log.jsonl").open("a") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True,
            env=None if environment is None else dict(environment),
        )  # fmt: skip
    try:
        served = Served(_address(process), folder / "data", folder / "log.jsonl", process)
        _wait(served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        with contextlib.suppress(json.JSONDecodeError):
            return str(json.loads(text)["address"])
    raise RuntimeError(f"the service did not start: {text}")


def _wait(served: Served) -> None:
    until = time.monotonic() + _START_SECONDS
    with served.client() as client:
        while time.monotonic() < until:
            if client.get("/readyz").status_code == 200 and served.memory_bytes()["children"]:
                return
            time.sleep(0.2)
    raise RuntimeError(f"the service is not ready; see {served.log}")
