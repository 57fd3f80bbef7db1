"""From files to a store of cases: seconds and memory of medseg, and of nnU-Net for the same.

medseg reads every case for its fingerprint, plans, and prepares every case; nnU-Net does the same
by its three commands, for its full-resolution configuration. Both with two workers and from the
start of their processes. Seconds are wall and processor time; memory is the most that all processes
of a side held together (sums of resident sets, looked at twenty times a second). medseg runs first,
so that files that lie in the page cache by then favour the other.

    python bench/preprocess.py ../shared/data/Task04_Hippocampus --nnunet-venv VENV
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import psutil

WORKERS = 2
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Taken:
    """What a command took.

    Attributes:
        wall: Seconds.
        cpu: Processor seconds of all its processes.
        peak_mb: Most memory that they held together.
    """

    wall: float
    cpu: float
    peak_mb: float


def resident(process: psutil.Process) -> int:
    """Bytes of a process and of all below it; one that ends meanwhile has none."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def watched(words: Sequence[Any]) -> Taken:
    """Run a command to its end and watch it."""
    before, begin, peak = getrusage(RUSAGE_CHILDREN), time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log)
        process = psutil.Process(running.pid)
        while running.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(LOOK_SECONDS)
        if running.returncode:
            log.seek(0)
            sys.exit(f"{words} failed:\n{log.read()[-3000:]}")
    wall, after = time.perf_counter() - begin, getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(wall, cpu, peak / 1e6)


def child(dataset: Path, out: Path, step: str) -> None:
    """What `medseg train` does before it trains: in this process, without a bar."""
    from medseg.allocator import keep_freed_memory

    keep_freed_memory()
    from medseg.dataset.fingerprint import take_fingerprint
    from medseg.dataset.importers import open_dataset
    from medseg.dataset.plan import load_plan, make_plan, save_plan
    from medseg.dataset.store import Store
    from medseg.specs import Budget

    described = open_dataset(dataset)
    if step == "plan":
        budget = Budget(epochs=1, memory_bytes=8 << 30, cores=WORKERS, gflops=100)
        plan = make_plan(take_fingerprint(described, workers=WORKERS), budget, config="3d_full")
        save_plan(plan, out / "plan.json")
    else:
        Store.build(out / "store", described, load_plan(out / "plan.json"), workers=WORKERS)


def medseg(dataset: Path, out: Path) -> dict[str, Taken]:
    """Both steps of medseg."""
    words = [sys.executable, __file__, dataset, "--out", out, "--child"]
    return {
        "fingerprint and plan": watched([*words, "plan"]),
        "preprocess": watched([*words, "store"]),
    }


def nnunet(venv: Path, dataset: Path, out: Path) -> dict[str, Taken]:
    """The three commands of nnU-Net; the first two belong together."""
    lay_out(dataset, out)
    number, bins = "4", venv / "bin"
    first = watched([bins / "nnUNetv2_extract_fingerprint", "-d", number, "-np", WORKERS])
    second = watched([bins / "nnUNetv2_plan_experiment", "-d", number])
    third = watched(
        [bins / "nnUNetv2_preprocess", "-d", number, "-c", "3d_fullres", "-np", WORKERS]
    )
    planned = Taken(
        first.wall + second.wall, first.cpu + second.cpu, max(first.peak_mb, second.peak_mb)
    )
    return {"fingerprint and plan": planned, "preprocess": third}


def lay_out(dataset: Path, out: Path) -> None:
    """The same cases in the folders that nnU-Net knows, and the environment that names them."""
    from medseg.dataset.importers import open_dataset
    from peers import nnunet_peer

    described = open_dataset(dataset)
    split = {
        "labels": {label.name: label.value for label in described.labels},
        "channel": described.channels[0].modality or described.channels[0].name,
        "training": [
            {"id": case.id, "image": str(case.images[0]), "label": str(case.label)}
            for case in described.cases
        ],
    }
    nnunet_peer.lay_out(split, out)
    (out / "raw" / nnunet_peer.DATASET).rename(out / "raw" / "Dataset004_All")


def lines(who: str, steps: dict[str, Taken]) -> list[str]:
    """A side as lines of the table."""
    whole = Taken(
        sum(one.wall for one in steps.values()),
        sum(one.cpu for one in steps.values()),
        max(one.peak_mb for one in steps.values()),
    )
    return [
        f"| {who} | {name} | {one.wall:.1f} | {one.cpu:.1f} | {one.peak_mb:,.0f} |"
        for name, one in (steps | {"**all**": whole}).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--nnunet-venv", type=Path, help="virtual environment with nnunetv2")
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one by default")
    parser.add_argument("--child", choices=("plan", "store"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    dataset = options.dataset.resolve()
    if options.child:
        child(dataset, options.out, options.child)
        return
    from medseg.training.probe import processor_name

    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, medseg "
        f"{version('medseg')}; {dataset.name}\n"
    )
    print("| who | step | wall, s | CPU, s | peak memory, MB |\n|---|---|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.out or Path(temporary)).resolve()
        for name in ("medseg", "nnunet"):
            (out / name).mkdir(parents=True)
        print("\n".join(lines("medseg", medseg(dataset, out / "medseg"))), flush=True)
        if options.nnunet_venv:
            found = nnunet(options.nnunet_venv, dataset, out / "nnunet")
            print("\n".join(lines("nnU-Net", found)), flush=True)


if __name__ == "__main__":
    main()
