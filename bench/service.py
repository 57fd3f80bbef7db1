"""What a small study costs through the service, and what it holds when many clients come at once.

One client sends hippocampus studies, each new to the service, and waits for the DICOM-SEG. The time
from the first byte of the request to the last of the mask is taken apart by what the job's record
says of its stages. Then CLIENTS clients do so at the same time, each with studies of its own, while
the memory of all processes is sampled.

    python bench/service.py --studies ../shared/data/dicom_hippocampus --count 60 --clients 50
"""

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pydicom
from pydicom.uid import generate_uid

from served import Peaks, Served, serving

SETTINGS = """
[limits]
attempts = 1
"""


@dataclass(frozen=True)
class Trip:
    """One study there and back, in seconds.

    Attributes:
        whole: As the client sees it.
        stages: By the job's record.
        waited: From the job's record to its beginning.
    """

    whole: float
    stages: dict[str, float]
    waited: float


def studies_of(folder: Path, count: int, seed: int) -> list[list[bytes]]:
    """Studies that no service has seen: series of the folder under new UIDs, in turn."""
    series: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(folder.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.Modality == "MR":
            series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    members = list(series.values())
    return [_renamed(members[n % len(members)], f"{seed}.{n}") for n in range(count)]


def _renamed(slices: list[pydicom.Dataset], words: str) -> list[bytes]:
    files = []
    for dataset in slices:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            dataset[keyword].value = generate_uid(entropy_srcs=[f"{words}/{keyword}"])
        uid = generate_uid(entropy_srcs=[f"{words}/{len(files)}"])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, dataset)
        files.append(buffer.getvalue())
    return files


def trip(client: httpx.Client, files: list[bytes]) -> Trip:
    """Send a study, wait for its mask, and ask what took how long."""
    form = [("files", (f"{n}.dcm", file, "application/dicom")) for n, file in enumerate(files)]
    start = time.monotonic()
    answer = client.post("/segment", params={"wait": True, "wait_seconds": 3000}, files=form)
    whole = time.monotonic() - start
    if answer.status_code != 200 or answer.content[128:132] != b"DICM":
        raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    job = client.get(answer.headers["Location"]).json()
    return Trip(whole, job["seconds"], job["started_at"] - job["created_at"])


def one_by_one(served: Served, studies: list[list[bytes]]) -> list[Trip]:
    with served.client(seconds=600.0) as client:
        return [trip(client, files) for files in studies]


def at_once(served: Served, studies: list[list[bytes]], clients: int) -> tuple[list[float], float]:
    """Seconds of each trip, and of all together; each client sends one study after another."""
    whole: list[float] = []
    failed: list[Exception] = []

    def run(mine: list[list[bytes]]) -> None:
        try:
            whole.extend(one.whole for one in one_by_one(served, mine))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(studies[n::clients],)) for n in range(clients)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return whole, time.monotonic() - start


def percentiles(seconds: list[float]) -> str:
    return " | ".join(f"{np.quantile(seconds, q):.3f}" for q in (0.5, 0.95, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--each", type=int, default=4, help="studies of each client")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    first = studies_of(asked.studies, asked.count + 5, seed=1)
    many = studies_of(asked.studies, asked.clients * asked.each, seed=2)
    size = np.mean([sum(map(len, files)) for files in first])
    with (
        tempfile.TemporaryDirectory(prefix="medseg-bench-") as place,
        serving(Path(place) / "run", settings=SETTINGS, workers=asked.workers) as served,
    ):
        one_by_one(served, first[:5])  # the bundle is read, functions are compiled
        trips = one_by_one(served, first[5:])
        warm = served.memory_bytes()
        halves = []
        for half in (many[: len(many) // 2], many[len(many) // 2 :]):
            with Peaks(served).watched() as peaks:
                halves.append((at_once(served, half, asked.clients), dict(peaks.bytes)))
    print(f"{asked.count} studies of {len(first[0])} files and {size / 1e6:.2f} MB, one client:\n")
    print("| | p50, s | p95, s | p99, s |\n|---|--:|--:|--:|")
    print(f"| end to end | {percentiles([one.whole for one in trips])} |")
    for stage in trips[0].stages:
        print(f"| {stage} | {percentiles([one.stages[stage] for one in trips])} |")
    print(f"| waiting for a worker | {percentiles([one.waited for one in trips])} |")
    rest = [1 - one.stages["segment"] / one.whole for one in trips]
    print(f"\nnot inference: {np.median(rest):.1%} (median), {np.mean(rest):.1%} (mean)\n")
    print(f"{asked.clients} clients, {asked.workers} worker(s):\n")
    print(
        "| studies | p50, s | p95, s | p99, s | studies a minute "
        "| service, MB | slot, MB | child, MB |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    memory = " | ".join(f"{warm[kind] / 1e6:.0f}" for kind in ("service", "slots", "children"))
    print(f"| before | | | | | {memory} |")
    for (whole, seconds), most in halves:
        memory = " | ".join(f"{most[kind] / 1e6:.0f}" for kind in ("service", "slots", "children"))
        rate = 60 * len(whole) / seconds
        print(f"| {len(whole)} | {percentiles(whole)} | {rate:.0f} | {memory} |")


if __name__ == "__main__":
    main()
