"""Preprocessed cases on disk, from which one patch is read without the whole case.

A store is a folder with one folder for each case:

    image.npy       float16, (C, I, J, K): half the disk and half the page cache of float32. It
                    rounds a normalised value by less than 0.05 %, far below the noise of any
                    scanner, and patches come out as float32.
    labels.npy      uint8 or uint16 class indices, (I, J, K); absent for a case without label. For
                    a 2D plan both lie slice by slice (Fortran order), so that one slice is read
                    without its neighbours
    locations.npy   int32 (n, 3): voxels of each class, sampled, class after class; of background
                    only where some voxels are ignored
    mask.npy        class indices that the stage before a cascade found, (I, J, K); written when
                    that stage is trained, and absent elsewhere
    record.json     grids, classes, and from which files and which plan the case was made

A case is written whole or not at all, so that building can be interrupted and taken up again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
from typing import Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from medseg.dataset.description import Case, DatasetDescription, read_case, read_case_label
from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import Preprocessed, preprocess
from medseg.dataset.room import Room
from medseg.dataset.stored import CaseRecord, StoredCase, StoredGrid, read_record
from medseg.errors import DatasetError, MissingPath
from medseg.files import atomic_folder
from medseg.progress import SILENT, Progress
from medseg.types import IntArray

__all__ = ["CaseRecord", "Store", "StoredCase"]

MOST_LOCATIONS = 10_000
"""Voxels of one class that are kept of one case (as nnU-Net keeps)."""

OPEN_CASES = 256
"""Cases whose files stay mapped; each holds up to two file handles."""

_LARGEST_HALF = 65504.0
"""Largest float16: what lies beyond is clipped (it never does after a z-score)."""


class Store:
    """All preprocessed cases of a data set.

    Args:
        folder: Where a store was built.
        ids: The cases to see; all that are there by default.

    Raises:
        MissingPath: If the folder, or a case that was asked for, is not there.
    """

    def __init__(self, folder: Path, ids: Iterable[str] | None = None) -> None:
        if not folder.is_dir():
            raise MissingPath(f"A store is read from {folder}.", received="no folder there")
        self.folder = folder
        found = {record.id: record for record in map(read_record, _case_folders(folder)) if record}
        wanted = sorted(found) if ids is None else list(ids)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise MissingPath(
                f"The store {folder} must hold each case that is used.",
                received=f"{len(missing)} missing, first {missing[0]}",
                cure="Build it again from the data set.",
            )
        self._records = {name: found[name] for name in wanted}
        self._open: dict[str, StoredCase] = {}
        self._lock = Lock()

    @classmethod
    def build(
        cls,
        folder: Path,
        description: DatasetDescription,
        plan: Plan,
        *,
        ids: Iterable[str] | None = None,
        progress: Progress = SILENT,
        workers: int = 2,
    ) -> "Store":
        """Preprocess cases into a folder. Those that are there and still valid are kept.

        One process builds a store at a time; what an earlier one left unfinished is removed.

        Args:
            folder: Where to. Made if missing.
            description: The data set.
            plan: How to preprocess.
            ids: The cases; all labelled ones by default.
            progress: Told of each case.
            workers: Cases worked on at the same time, in threads; fewer where the memory does not
                hold so many.

        Raises:
            DatasetError: If a case cannot be used.
            CannotWrite: If the folder cannot be written.
        """
        for leftover in folder.glob(".partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        cases = description.cases if ids is None else tuple(description.case(name) for name in ids)
        with (
            progress.task("Preprocessing", len(cases)) as task,
            ThreadPoolExecutor(max(1, workers)) as pool,
        ):
            room = Room()
            jobs = [
                pool.submit(_build_case, folder, description, case, plan, room) for case in cases
            ]
            try:
                for job in as_completed(jobs):
                    job.result()
                    task.advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return cls(folder, [case.id for case in cases])

    @property
    def ids(self) -> tuple[str, ...]:
        """The cases, in the order that was asked for."""
        return tuple(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the files for itself."""
        return Store, (self.folder, self.ids)

    def case(self, case_id: str) -> StoredCase:
        """One case. The least recently used ones are closed beyond `OPEN_CASES`.

        Raises:
            DatasetError: If the store does not hold it.
        """
        if case_id not in self._records:
            raise DatasetError(f"The store {self.folder} has no such case.", received=repr(case_id))
        with self._lock:
            case = self._open.pop(case_id, None)
            if case is None:
                case = StoredCase(_case_folder(self.folder, case_id), self._records[case_id])
            self._open[case_id] = case
            while len(self._open) > OPEN_CASES:
                del self._open[next(iter(self._open))]
            return case


def _build_case(
    folder: Path, description: DatasetDescription, case: Case, plan: Plan, room: Room
) -> None:
    """Preprocess one case and store it, unless that was done before."""
    place, files_hash = _case_folder(folder, case.id), _files_hash(case)
    done = read_record(place)
    if done and (done.plan_hash, done.files_hash) == (plan.preprocessing_hash, files_hash):
        return
    volume = read_case(description, case)
    with room.held(room.needed(volume, plan, case=case.id)):
        label_map = None if case.label is None else read_case_label(description, case)
        ready = preprocess(volume, label_map, plan)
        locations, counts, voxels = _sampled_locations(
            ready.labels, len(plan.labels) + 1, background=plan.ignored_value is not None
        )
        record = CaseRecord(
            id=case.id,
            plan_hash=plan.preprocessing_hash,
            files_hash=files_hash,
            geometry=StoredGrid.of(ready.geometry),
            original=StoredGrid.of(ready.original),
            class_voxels=voxels,
            location_counts=counts,
        )
        _write_case(place, ready, locations, record, slices=plan.config == "2d")


def _write_case(
    place: Path,
    ready: Preprocessed,
    locations: npt.NDArray[np.int32],
    record: CaseRecord,
    *,
    slices: bool,
) -> None:
    """Write all files of a case; `slices` lays arrays out slice by slice."""
    order: Literal["F", "C"] = "F" if slices else "C"
    halves = np.clip(ready.image, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16, order=order)
    with atomic_folder(place) as temporary:
        np.save(temporary / "image.npy", halves)
        if ready.labels is not None:
            np.save(temporary / "labels.npy", np.asarray(ready.labels, order=order))
        np.save(temporary / "locations.npy", locations)
        (temporary / "record.json").write_text(record.model_dump_json(), encoding="utf-8")


def _sampled_locations(
    labels: IntArray | None, classes: int, *, background: bool
) -> tuple[npt.NDArray[np.int32], tuple[int, ...], tuple[int, ...]]:
    """Up to `MOST_LOCATIONS` voxels of each class, evenly spread over its voxels.

    Args:
        labels: Class indices; from `classes` on they do not count.
        classes: How many there are.
        background: Whether voxels of background are wanted too.

    Returns:
        Locations (n, 3), class after class; how many of each class; voxels of each class.
    """
    if labels is None:
        return np.empty((0, 3), dtype=np.int32), (), ()
    flat = labels.ravel()
    voxels = np.bincount(flat, minlength=classes)[:classes]
    wanted = voxels.copy()
    if not background:
        wanted[0] = 0
    inside = np.flatnonzero(flat < classes if background else (flat > 0) & (flat < classes))
    inside = inside[np.argsort(flat[inside], kind="stable")]
    chosen, counts, start = [], [], 0
    for count in wanted.tolist():
        of_class = inside[start : start + count]
        start += count
        if count > MOST_LOCATIONS:
            of_class = of_class[np.linspace(0, count - 1, MOST_LOCATIONS).astype(np.int64)]
        chosen.append(of_class)
        counts.append(of_class.size)
    locations = np.stack(np.unravel_index(np.concatenate(chosen), labels.shape), axis=1)
    return locations.astype(np.int32), tuple(counts), tuple(voxels.tolist())


def _case_folder(folder: Path, case_id: str) -> Path:
    """One folder name for each id, whatever letters it holds; never hidden, never ".."."""
    name = quote(case_id, safe=" ")
    return folder / (f"%2E{name[1:]}" if name.startswith(".") else name)


def _case_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files_hash(case: Case) -> str:
    """SHA-256 over name, size and time of change of each file of a case.

    Raises:
        MissingPath: If one of them is not there.
    """
    facts = []
    for path in (*case.images, *([case.label] if case.label else [])):
        if not path.exists():
            raise MissingPath(f"Every file of case {case.id} must be there.", received=str(path))
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            status = file.stat()
            facts.append((str(file.absolute()), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
