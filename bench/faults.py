"""Is anything lost or done twice when everything that can fail does? A service under kill -9.

Studies are sent by STOW-RS while worker slots and the processes that segment are killed at random,
the service is killed once and restarted once, its quota is hit, and the destination is away for a
while. At the end each study must have exactly one segmentation at the destination.

    python bench/faults.py --studies 200
"""

import argparse
import contextlib
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from medseg.training.probe import processor_name
from medseg.volume.dicom import write_series
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume

SIZE = (32, 44, 16)
RELATED = 'multipart/related; type="application/dicom"; boundary=study'
PATIENCE_SECONDS = 900.0


@dataclass
class Tally:
    """What was done to the service.

    Attributes:
        worker_kills: Worker slots that got SIGKILL.
        child_kills: Processes that segment that got SIGKILL.
        restarts: Of the service, by SIGTERM and SIGKILL.
        refused: Requests that were answered with another status than 200, by status.
        unanswered: Requests without an answer.
    """

    worker_kills: int = 0
    child_kills: int = 0
    restarts: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0


class Served:
    """`medseg serve` as a process that can be killed and started again.

    Args:
        data: Its data folder.
        settings: Its settings, as TOML.
        port: Where it listens.
    """

    def __init__(self, data: Path, settings: str, port: int) -> None:
        self.data, self.port = data, port
        self.file = data.with_suffix(".toml")
        self.file.write_text(settings)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.data.with_suffix(".log").open("ab")
        words = [sys.executable, "-m", "medseg", "serve", "--settings", str(self.file)]
        self.process = subprocess.Popen(words, stdout=log, stderr=log)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200:
                    return
            time.sleep(0.1)
        sys.exit(f"{self.url} does not answer; see {log.name}")

    def end(self, how: int) -> None:
        """End it by a signal."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)

    def below(self, word: str) -> list[psutil.Process]:
        """Processes of the service with a word in their command."""
        found = []
        with contextlib.suppress(psutil.Error):
            assert self.process is not None
            for one in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if word in one.cmdline():
                        found.append(one)
        return found


def study(seed: int, folder: Path) -> list[Path]:
    """A small MR series of its own."""
    generator = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    bright = np.exp(-4 * (i**2 + j**2 + k**2)) * 400
    values = (bright + generator.normal(300, 40, SIZE)).clip(0).astype(np.int16)
    volume = Volume(values[np.newaxis], Geometry.from_spacing((1.0, 1.0, 1.0), SIZE))
    write_series(volume, folder, patient_name=f"Fault^{seed}", patient_id=f"F{seed}")
    return sorted(folder.iterdir())


def body_of(files: list[Path]) -> bytes:
    parts = [b"--study\r\nContent-Type: application/dicom\r\n\r\n" + one.read_bytes() + b"\r\n"
             for one in files]  # fmt: skip
    return b"".join([*parts, b"--study--\r\n"])


def send(served: Served, body: bytes, tally: Tally, stop: threading.Event) -> None:
    """Send a study until it is taken, as a modality does."""
    while not stop.is_set():
        try:
            answer = httpx.post(
                f"{served.url}/dicomweb/studies", content=body, timeout=60,
                headers={"content-type": RELATED},
            )  # fmt: skip
            if answer.status_code == 200:
                return
            tally.refused[answer.status_code] += 1
        except httpx.HTTPError:
            tally.unanswered += 1
        time.sleep(0.5)


def kill_at_random(
    served: Served, tally: Tally, every_seconds: tuple[float, float], stop: threading.Event
) -> None:
    """Kill now a slot and now a process that segments, as chance has it."""
    chosen = random.Random(0)
    while not stop.wait(chosen.uniform(*every_seconds)):
        word = chosen.choice(("worker", "medseg.service.child"))
        victims = served.below(word)
        if not victims:
            continue
        with contextlib.suppress(psutil.Error):
            chosen.choice(victims).send_signal(signal.SIGKILL)
            if word == "worker":
                tally.worker_kills += 1
            else:
                tally.child_kills += 1


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def settings_of(data: Path, port: int, workers: int, pacs: str, quota_bytes: int) -> str:
    text = f"""
data = "{data}"
models = ["hippocampus-mr"]
port = {port}
workers = {workers}
settle_seconds = 0.5
incomplete_seconds = 30
[limits]
attempts = 10
[retention]
quota_bytes = {quota_bytes}
"""
    if not pacs:
        return text
    return f"""{text}
[[destinations]]
kind = "stow"
name = "pacs"
url = "{pacs}/dicomweb"
[[rules]]
name = "all"
model = "hippocampus-mr"
modality = "MR"
destinations = ["pacs"]
"""


def jobs_of(served: Served) -> list[dict[str, Any]]:
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get(f"{served.url}/jobs?limit=1000", timeout=60)
        if answer.status_code == 200:
            return list(answer.json()["jobs"])
    return []


def is_over(served: Served, wanted: int) -> bool:
    jobs = jobs_of(served)
    ended = [job for job in jobs if job["state"] not in ("queued", "running")]
    delivered = all(one["state"] != "waiting" for job in jobs for one in job["deliveries"])
    return len(ended) >= wanted and len(ended) == len(jobs) and delivered


@contextlib.contextmanager
def world(out: Path, workers: int, quota_bytes: int) -> Iterator[tuple[Served, Served]]:
    """The service and its destination, which is a second one without workers."""
    pacs_port, port = free_port(), free_port()
    pacs = Served(out / "pacs", settings_of(out / "pacs", pacs_port, 0, "", 10**12), pacs_port)
    settings = settings_of(out / "held", port, workers, pacs.url, quota_bytes)
    served = Served(out / "held", settings, port)
    pacs.start()
    served.start()
    try:
        yield served, pacs
    finally:
        for one in (served, pacs):
            one.end(signal.SIGTERM)


def run(out: Path, options: argparse.Namespace, tally: Tally) -> dict[str, Any]:
    files = study(0, out / "first")
    size = sum(one.stat().st_size for one in files)
    stop = threading.Event()
    with world(out, options.workers, int(size * options.studies * 0.75)) as (served, pacs):
        killer = threading.Thread(target=kill_at_random, args=(served, tally, options.every, stop))
        killer.start()
        begin = time.monotonic()
        steps = {
            int(options.studies * 0.2): lambda: pacs.end(signal.SIGKILL),
            int(options.studies * 0.4): lambda: restart(served, signal.SIGKILL, tally),
            int(options.studies * 0.6): pacs.start,
        }
        sender = threading.Thread(target=relieve, args=(served, tally, options, size, stop))
        sender.start()
        for number in range(options.studies):
            steps.get(number, lambda: None)()
            place = out / f"study-{number}"
            send(served, body_of(study(number, place)), tally, stop)
        until = time.monotonic() + PATIENCE_SECONDS
        while not is_over(served, options.studies) and time.monotonic() < until:
            time.sleep(1)
        stop.set()
        killer.join()
        sender.join()
        return {"seconds": time.monotonic() - begin, **counted(served, pacs)}


def relieve(
    served: Served, tally: Tally, options: argparse.Namespace, size: int, stop: threading.Event
) -> None:
    """When the quota is hit somebody raises it: the second restart, by SIGTERM this time."""
    while not stop.wait(0.5):
        if tally.refused.total() >= 3:
            text = served.file.read_text().splitlines()
            raised = f"quota_bytes = {size * options.studies * 100}"
            served.file.write_text(
                "\n".join(raised if line.startswith("quota") else line for line in text)
            )
            restart(served, signal.SIGTERM, tally)
            return


def restart(served: Served, how: int, tally: Tally) -> None:
    served.end(how)
    served.start()
    tally.restarts += 1


def counted(served: Served, pacs: Served) -> dict[str, Any]:
    jobs = jobs_of(served)
    at_pacs = httpx.get(f"{pacs.url}/dicomweb/instances?Modality=SEG&limit=5000", timeout=60).json()
    conflicts = httpx.get(f"{pacs.url}/conflicts?limit=1000", timeout=60).json()
    studies = Counter(one["0020000D"]["Value"][0] for one in at_pacs)
    return {
        "states": Counter(job["state"] for job in jobs),
        "attempts": sum(job["attempts"] for job in jobs),
        "unexplained": [job["id"] for job in jobs
                        if job["state"] in ("dead", "failed") and not job["error"]],
        "delivered_studies": len(studies),
        "twice": sum(count > 1 for count in studies.values()),
        "conflicts": len(conflicts),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--every",
        type=float,
        nargs=2,
        default=(2.0, 6.0),
        metavar="SECONDS",
        help="somebody is killed each time so many seconds are over",
    )
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, {len(os.sched_getaffinity(0))} cores, "
        f"Python {platform.python_version()}, medseg {version('medseg')}, DBOS {version('dbos')}; "
        f"{options.studies} studies of {' x '.join(map(str, SIZE))} voxels, "
        f"{options.workers} workers, a kill every {options.every[0]:g} to {options.every[1]:g} s\n"
    )
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        found = run(out, options, tally)
    lost = options.studies - found["delivered_studies"] - found["states"]["dead"]
    rows = [
        ("studies sent", options.studies),
        ("worker slots killed (SIGKILL)", tally.worker_kills),
        ("processes that segment killed (SIGKILL)", tally.child_kills),
        ("restarts of the service (SIGKILL, SIGTERM)", tally.restarts),
        ("requests refused, by status", dict(tally.refused)),
        ("requests without an answer", tally.unanswered),
        ("jobs by state", dict(found["states"])),
        ("attempts", found["attempts"]),
        ("dead or failed without a reason", len(found["unexplained"])),
        ("studies with a segmentation at the destination", found["delivered_studies"]),
        ("**lost**", lost),
        (
            "**done twice** (second segmentation or other bytes)",
            found["twice"] + found["conflicts"],
        ),
        ("seconds", f"{found['seconds']:.0f}"),
    ]
    print("| | |\n|---|--:|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    if lost or found["twice"] or found["conflicts"] or found["unexplained"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
