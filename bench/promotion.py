"""Is a promoted bundle taken up by a running service, and does any study get lost over it?

`medseg serve` over a folder of bundles of which one is in use. Clients send studies one after
another; meanwhile another bundle is promoted and rolled back, again and again. Every study must
come back as a DICOM-SEG, by the bundle that was in use when its job was recorded, from the process
that was started in the beginning.

    python bench/promotion.py --studies ../shared/data/dicom_hippocampus --count 60 --turns 4
"""

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from medseg.bundle import load_bundle, save_bundle
from medseg.continual.registry import Registry
from medseg.promoted import POINTER_FILE
from served import Served, serving
from service import studies_of, trip


def medseg(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "medseg", *map(str, words)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def turned(served: Served, bundles: Path, second: Path, turns: int, until: int) -> list[float]:
    """Put the other bundle in use whenever as many studies more are done; when it was."""
    moments = []
    for n in range(turns):
        while done(served) < (n + 1) * until // (turns + 1):
            time.sleep(0.05)
        if n % 2:
            medseg("loop", "rollback", "--bundles", bundles)
        else:
            medseg("loop", "promote", second, "--bundles", bundles, "--why", "its turn")
        moments.append((bundles / POINTER_FILE).stat().st_mtime)
    return moments


def rows(served: Served, what: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{served.data / 'medseg.sqlite'}?mode=ro", uri=True) as found:
        return found.execute(what).fetchall()


def done(served: Served) -> int:
    return len(rows(served, "SELECT id FROM jobs WHERE state = 'done'"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--turns", type=int, default=4)
    asked = parser.parse_args()
    studies = studies_of(asked.studies, asked.count, seed=7)
    with tempfile.TemporaryDirectory() as name:
        folder, bundles = Path(name), Path(name) / "bundles"
        whole = load_bundle("hippocampus-mr")
        first, second = (
            save_bundle(replace(whole, members=whole.members[n : n + 1]), folder / f"one_{n}")
            for n in (0, 1)
        )
        Registry(bundles).promote(first, why=("the first",))
        assert second.folder is not None
        with serving(folder / "served", model=str(bundles)) as served:
            failed: list[str] = []

            def send(mine: list[list[bytes]]) -> None:
                with served.client(600.0) as client:
                    for study in mine:
                        try:
                            trip(client, study)
                        except Exception as error:
                            failed.append(str(error))

            threads = [
                threading.Thread(target=send, args=(studies[n :: asked.clients],))
                for n in range(asked.clients)
            ]
            for thread in threads:
                thread.start()
            moments = turned(served, bundles, second.folder, asked.turns, asked.count)
            for thread in threads:
                thread.join()
            states = rows(served, "SELECT state, count(*), max(attempts) FROM jobs GROUP BY state")
            jobs = rows(served, "SELECT created_at, bundle_path FROM jobs ORDER BY created_at")
            course = [Path(str(path)).name for _, path in jobs]
            letters = dict(zip(dict.fromkeys(course), "ab", strict=True))
            late = [
                float(str(at)) - max([0.0, *(m for m in moments if m < float(str(at)))])
                for (at, _), name in zip(jobs, course, strict=True)
                if letters[name] != "ab"[sum(m < float(str(at)) for m in moments) % 2]
            ]
            print(f"states, jobs, most attempts: {states}; failed requests: {len(failed)}")
            print(f"bundles by order of the jobs: {''.join(letters[name] for name in course)}")
            print(f"jobs that went to the bundle before: {len(late)}, "
                  f"at most {max(late, default=0):.3f} s after its turn")  # fmt: skip
            alive = served.process.poll() is None
            print(f"the process of the beginning is alive: {alive}")


if __name__ == "__main__":
    main()
