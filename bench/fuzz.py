"""Broken DICOM files and bodies against a service that runs: what becomes of them, and of it.

Sends COUNT requests drawn from a seed (`mutations.py`), then every file of the folders of odd
files, to `medseg serve` in processes of its own; asks for `/healthz` throughout; waits for the jobs
that came of it. Prints counts by kind and status, jobs by state, the most memory that processes
held, and files outside the data folder. Ends with 1 if anything was not as it must be.

    python bench/fuzz.py --count 2000 --sources ../shared/data/dicom_hippocampus \
        --image CASE.nii.gz --odd ../shared/data/dicom_odd --odd ../shared/data/dicom_messy_folder
"""

import argparse
import os
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import numpy as np

from mutations import ESCAPED, Case, cases, odd_files
from served import Peaks, Served, serving

MEMORY_BYTES = 3 << 30
SETTINGS = f"""
[limits]
upload_bytes = {64 << 20}
inflated_bytes = {128 << 20}
pixels = {1 << 26}
job_memory_bytes = {MEMORY_BYTES}
job_seconds = 60
attempts = 1
"""
_DRAIN_SECONDS = 900.0


class Health:
    """Asks whether the service lives, ten times a second."""

    def __init__(self, served: Served) -> None:
        self.seconds: list[float] = []
        self.failures = 0
        self._stop = threading.Event()
        self._served = served
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with self._served.client(seconds=20.0) as client:
            while not self._stop.wait(0.1):
                start = time.monotonic()
                try:
                    self.failures += client.get("/healthz").status_code != 200
                except httpx.HTTPError:
                    self.failures += 1
                self.seconds.append(time.monotonic() - start)


def send(client: httpx.Client, case: Case) -> str:
    """The status, or the kind of error where there was no answer."""
    headers = {"Content-Type": case.media_type.encode("latin-1", "replace")}
    try:
        return str(client.post(case.route, content=case.body, headers=headers).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


def odd_cases(folders: list[Path]) -> list[Case]:
    """Each odd file by both ways in, and all of them in one body."""
    files = odd_files(folders)
    related = 'multipart/related; type="application/dicom"; boundary=limit'
    parts = [b"--limit\r\nContent-Type: application/dicom\r\n\r\n" + f + b"\r\n" for f in files]
    found = [Case("odd file", "/segment", "application/dicom", file) for file in files]
    found += [
        Case("odd file", "/dicomweb/studies", related, part + b"--limit--\r\n") for part in parts
    ]
    whole = b"".join(parts) + b"--limit--\r\n"
    return [*found, Case("all odd files", "/dicomweb/studies", related, whole)]


def drained(client: httpx.Client) -> Counter[str]:
    """Jobs by state, when nothing happens to them any more."""
    until = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < until:
        states = Counter({
            state: len(client.get("/jobs", params={"state": state, "limit": 1000}).json()["jobs"])
            for state in ("queued", "running", "done", "failed", "dead", "cancelled")
        })  # fmt: skip
        if states["queued"] + states["running"] == 0:
            break
        time.sleep(1.0)
    return states


def outside(folder: Path) -> list[str]:
    """Files that lie where none may."""
    home = folder.parent / "home"
    found = [str(path) for path in home.rglob(f"*{ESCAPED}*")]
    known = {"service.toml", "log.jsonl", "data"}
    found += [str(path) for path in folder.iterdir() if path.name not in known]
    found += [str(p) for root in ("/tmp", "/", "/var/tmp") for p in Path(root).glob(f"{ESCAPED}*")]
    places = ("incoming", "instances", "uploads", "results", "slots")
    for path in (folder / "data").rglob("*"):
        inside = path.relative_to(folder / "data").parts
        named_by_us = inside[0] in places or inside[0].startswith(("medseg", "secret"))
        if path.is_file() and (not named_by_us or ESCAPED in path.name):
            found.append(str(path))
    return found


def show(counts: dict[str, Counter[str]]) -> None:
    statuses = sorted({status for counted in counts.values() for status in counted})
    print("| what was sent | " + " | ".join(statuses) + " |")
    print("|---|" + "--:|" * len(statuses))
    for kind in sorted(counts):
        row = " | ".join(str(counts[kind][status] or "") for status in statuses)
        print(f"| {kind} | {row} |")
    total = sum(counts.values(), Counter[str]())
    print("| **all** | " + " | ".join(f"**{total[status]}**" for status in statuses) + " |\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--odd", type=Path, action="append", default=[])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of files that are broken on purpose
    files = [p for p in sorted(asked.sources.rglob("*")) if p.is_file()]
    sources = [path.read_bytes() for path in files[:: max(1, len(files) // 12)]]
    sources = [one for one in sources if one[128:132] == b"DICM"]
    generator = np.random.default_rng(asked.seed)
    drawn = cases(asked.count, sources, asked.image.read_bytes(), generator)
    drawn += odd_cases(asked.odd)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory(prefix="medseg-fuzz-") as place:
        folder = Path(place) / "run"
        (Path(place) / "home").mkdir()
        environment = {**os.environ, "HOME": str(Path(place) / "home")}
        start = time.monotonic()
        with (
            serving(folder, settings=SETTINGS, environment=environment) as served,
            Health(served) as health,
            Peaks(served).watched() as peaks,
            served.client(seconds=120.0) as client,
        ):
            begin = served.memory_bytes()
            for case in drawn:
                counts[case.kind][send(client, case)] += 1
            sent_seconds = time.monotonic() - start
            states = drained(client)
            end = served.memory_bytes()
            left = sorted((served.data / "incoming").iterdir())
        escaped = outside(folder)
        faults = folder.joinpath("log.jsonl").read_text().count('"http.fault"')
    show(counts)
    print(f"{len(drawn)} requests in {sent_seconds:.0f} s; jobs: {dict(states)}")
    print(
        f"/healthz asked {len(health.seconds)} times: {health.failures} without an answer, "
        f"p99 {np.quantile(health.seconds, 0.99):.3f} s, slowest {max(health.seconds):.2f} s"
    )
    for kind, most in peaks.bytes.items():
        print(f"{kind}: {begin[kind] / 1e6:.0f} MB, at most {most / 1e6:.0f}, "
              f"{end[kind] / 1e6:.0f} at the end")  # fmt: skip
    print(f"outside the data folder: {escaped or 'nothing'}; left in incoming: {len(left)}")
    bad = sum(
        n for c in counts.values() for status, n in c.items() if not status.startswith(("2", "4"))
    )
    print(f"answers with 5xx or none: {bad}; faults in the log: {faults}")
    over = peaks.bytes["children"] > MEMORY_BYTES
    unended = states["queued"] + states["running"]
    return int(bool(bad or health.failures or escaped or left or over or faults or unended))


if __name__ == "__main__":
    sys.exit(main())
