"""A scanner changes: is it noticed, does the loop make it good, and is a poisoned batch refused?

One network that has seen a third of the cases (its data set, under versions); another third is the
baseline of drift, and half of it the frozen test set. The last third meets a new scanner: gamma 3
and noise of half a deviation. Of it, 40 cases are the pool, of which the first 20 are as they were
and the last 20 changed; 20 more, all changed, are the test set of the new domain. The pool raises
an alarm or not, 15 cases are chosen, their labels handed in, and the loop trains, compares and
decides. Then a second batch comes, whose labels are shifted by 4 voxels, and judges itself.

The first loop is also run again in a copy, and killed (SIGKILL) in every step.

    python bench/loop.py Task04_Hippocampus --keep FOLDER [--epochs 5]
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.bundle import save_bundle
from medseg.continual.corruptions import powered
from medseg.continual.drift_baseline import make_baseline, save_baseline
from medseg.continual.loop_state import STATE_FILE, STEPS
from medseg.continual.registry import Registry
from medseg.continual.sharing import push
from medseg.continual.versioned import VersionedData
from medseg.dataset.copies import copy_dataset
from medseg.dataset.description import (
    DatasetDescription,
    read_case,
    read_case_label,
    save_description,
)
from medseg.dataset.importers import open_dataset
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.volume import LabelMap, Volume
from watched import Looks, thirds, trained

GAMMA, NOISE, SHIFT = 3.0, 0.5, 4


def new_scanner(volume: Volume, seed: int) -> Volume:
    changed = powered(volume, GAMMA)
    rng = np.random.default_rng(seed)
    added = rng.normal(0, NOISE * float(changed.array.std()), changed.array.shape)
    return replace(changed, array=(changed.array + added).astype(np.float32))


def part(described: DatasetDescription, ids: Sequence[str]) -> DatasetDescription:
    cases = tuple(case for case in described.cases if case.id in set(ids))
    return described.model_copy(update={"cases": cases, "unlabelled": ()})


def timed(what: str, start: float, worked: float | None = None) -> None:
    own = "" if worked is None else f", {time.process_time() - worked:.2f} s of processor"
    print(f"{what}: {time.perf_counter() - start:.2f} s{own}", flush=True)


def versions(described: DatasetDescription, folder: Path) -> None:
    """How long the data set as a whole takes, and whether one byte is found."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    copy_dataset(described, folder)
    start, worked = time.perf_counter(), time.process_time()
    data = VersionedData.create(folder)
    _, changes = data.commit("all")
    timed(f"{len(changes.added)} cases put under versions", start, worked)
    start = time.perf_counter()
    assert data.diff("v1", "now").is_empty
    timed("difference, by size and times", start)
    start = time.perf_counter()
    assert data.diff("v1", "now", verify=True).is_empty
    timed("difference, every byte read", start)
    label = data.description().cases[17].label
    assert label is not None
    content, stat = bytearray(label.read_bytes()), label.stat()
    content[len(content) // 2] ^= 0xFF
    label.write_bytes(bytes(content))
    os.utime(label, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = data.diff("v1", "now").relabelled
    print(f"one byte changed, time set back: {[one.sentence for one in found]}", flush=True)
    start = time.perf_counter()
    data.check_out("v1", force=True)
    timed("v1 brought back", start)
    data.store.add_remote("folder", str(folder.parent / "remote"))
    start = time.perf_counter()
    push(data)
    timed("pushed to a folder", start)


def world(described: DatasetDescription, keep: Path, folder: Path) -> None:
    """All that the loop is given."""
    cut = thirds(described)
    several = trained(described, keep)
    bundle = save_bundle(replace(several, members=several.members[:1]), folder / "first")
    copy_dataset(part(described, cut.learned), folder / "data")
    VersionedData.create(folder / "data").commit("what the bundle learned")
    copy_dataset(part(described, cut.known[::2]), folder / "test")
    Registry(folder / "bundles").promote(bundle, why=("the first",))
    looks = Looks(bundle, described, keep / "one")
    seen = [looks.plain(case) for case in cut.known]
    save_baseline(make_baseline(seen, bundle), folder / "baseline")
    new = cut.new
    for n, name in enumerate(new[:40]):
        volume = read_case(described, described.case(name))
        # Names begin with a number: the pool is gone through in their order, as scans come in.
        write_volume(
            volume if n < 20 else new_scanner(volume, n), folder / "pool" / f"{n:02d}_{name}.nii.gz"
        )
    judging = part(described, new[40:])
    cases = []
    for n, case in enumerate(judging.cases):
        image = folder / "new_test" / "images" / f"{case.id}.nii.gz"
        write_volume(new_scanner(read_case(described, case), 1000 + n), image)
        cases.append(case.model_copy(update={"images": (image,)}))
    save_description(judging.model_copy(update={"cases": tuple(cases)}), folder / "new_test")


def truth(described: DatasetDescription, name: str) -> LabelMap:
    """The label of a case of the pool."""
    return read_case_label(described, described.case(name.partition("_")[2]))


def shifted(label_map: LabelMap) -> LabelMap:
    return replace(label_map, array=np.roll(label_map.array, SHIFT, axis=1))


def medseg(*words: object) -> list[str]:
    return [sys.executable, "-m", "medseg", *map(str, words)]


def answer(words: list[str], place: Path) -> dict[str, Any]:
    done = subprocess.run([*words, "--json"], cwd=place, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def killed_in_every_step(words: list[str], place: Path) -> list[str]:
    """Run a loop, killing it in each step, a little later each time; what was killed in."""
    state, killed = place / "run" / STATE_FILE, []
    waits = {"train": 40.0, "evaluate": 15.0}
    for step in STEPS:
        resume = ["--resume"] if state.is_file() else []
        worker = subprocess.Popen(
            [*words, *resume, "--json"], cwd=place, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while worker.poll() is None:
            done = json.loads(state.read_text()) if state.is_file() else {}
            before = STEPS.index(step)
            if done and (before == 0 or done[STEPS[before - 1]] is not None):
                time.sleep(waits.get(step, 0.05))
                break
            time.sleep(0.005)
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
            killed.append(step)
        worker.wait()
    subprocess.run([*words, "--resume", "--json"], cwd=place, check=True, capture_output=True)
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only-versions", action="store_true")
    parser.add_argument("--only-loop", action="store_true")
    asked = parser.parse_args()
    described = open_dataset(asked.dataset)
    if not asked.only_loop:
        versions(described, asked.keep / "versions" / "data")
    if asked.only_versions:
        return
    place = asked.keep / "world"
    shutil.rmtree(place, ignore_errors=True)
    world(described, asked.keep, place)
    run = medseg(
        "loop", "run", "--data", "data", "--bundles", "bundles", "--test", "test", "--out", "run",
        "--pool", "pool", "--new-test", "new_test", "--baseline", "baseline", "-n", 15,
        "--epochs", asked.epochs, "--precision", "bf16", "--device", "cpu",
    )  # fmt: skip
    start = time.perf_counter()
    first = answer(run, place)
    timed(f"alarm {first['alarm']}, {len(first['to_label'])} cases chosen", start)
    changed = sum(int(name[:2]) >= 20 for name in first["to_label"])
    print(f"{changed} of the chosen cases are of the new scanner", flush=True)
    for name in first["to_label"]:
        write_label_map(truth(described, name), place / "labels" / f"{name}.nii.gz")
    twin = asked.keep / "twin"
    shutil.rmtree(twin, ignore_errors=True)
    shutil.copytree(place, twin)
    start = time.perf_counter()
    outcome = answer([*run, "--resume", "--labels", "labels"], place)
    timed(outcome["status"], start)
    print(json.dumps(outcome["verdict"], indent=1), flush=True)

    shutil.rmtree(twin / "run")
    killed = killed_in_every_step([*run, "--labels", "labels"], twin)
    print(f"killed in {', '.join(killed)}", flush=True)
    alone = json.loads((place / "run" / STATE_FILE).read_text())
    again = json.loads((twin / "run" / STATE_FILE).read_text())
    alone["select"] = again["select"]  # chosen by the first run, handed in to the second
    print(f"the same state: {alone == again}", flush=True)

    rest = [p.name.removesuffix(".nii.gz") for p in sorted((place / "pool").iterdir())]
    batch = [name for name in rest if name not in first["to_label"]][-15:]
    for name in batch:
        write_label_map(shifted(truth(described, name)), place / "poisoned" / f"{name}.nii.gz")
    poisoned = medseg(
        "loop", "run", "--data", "data", "--bundles", "bundles", "--test", "test", "--out",
        "poisoned_run", "--pool", "pool", "--labels", "poisoned", "--epochs", asked.epochs,
        "--precision", "bf16", "--device", "cpu",
    )  # fmt: skip
    start = time.perf_counter()
    refused = answer(poisoned, place)
    timed(f"poisoned batch: {refused['status']}", start)
    print(json.dumps(refused["verdict"], indent=1), flush=True)


if __name__ == "__main__":
    main()
