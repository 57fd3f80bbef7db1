"""What a version of a data set holds, case by case: digests of its files, volumes and statistics.

The manifest lies beside the description as `medseg-version.json`. Its digest names the version: two
data sets with the same cases, files, labels and channels have the same one, wherever they lie.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from medseg.dataset.contents import Contents
from medseg.dataset.description import (
    Case,
    Channel,
    DatasetDescription,
    read_case,
    read_case_label,
)
from medseg.errors import MedsegError, VersionError
from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.types import AnyArray, GridSize, SpacingMm
from medseg.volume.labels import Labels
from medseg.volume.regions import Regions
from medseg.volume.volume import LabelMap, Volume

FILE_NAME = "medseg-version.json"
"""Name of the file that holds the manifest."""

MEMORY = Path(".dvc") / "tmp" / "medseg-digests.json"
"""Where digests of files are remembered, below the folder of a data set that has versions."""

_SAMPLED_VOXELS = 1_000_000


class Intensities(BaseModel):
    """One channel of one image, from an even sample of at most a million voxels.

    Attributes:
        mean: In the unit of the image.
        std: Standard deviation.
        percentile_01: 1 % of the voxels lie below.
        median: Half of them do.
        percentile_99: 99 % do.
    """

    model_config = FROZEN

    mean: float
    std: float
    percentile_01: float
    median: float
    percentile_99: float


class CaseRecord(BaseModel):
    """One case of a version.

    Attributes:
        id: Its name.
        patient: Whose image it is.
        image: SHA-256 over its image files; "" where one is missing.
        label: SHA-256 of its label file; None without one, "" where it is missing.
        voxels: SHA-256 over the values and the grid of the label map, whatever its file is like.
        grid_size: Voxels along I, J, K.
        spacing_mm: Between voxel centres along I, J, K.
        intensities: Of each channel.
        volumes_ml: Of each structure, by name.
        fault: Why it cannot be read; "" where it can.
    """

    model_config = FROZEN

    id: str
    patient: str | None = None
    image: str
    label: str | None = None
    voxels: str = ""
    grid_size: GridSize | None = None
    spacing_mm: SpacingMm | None = None
    intensities: tuple[Intensities, ...] = ()
    volumes_ml: dict[str, float] = {}
    fault: str = ""


class Manifest(BaseModel):
    """All cases of a version.

    Attributes:
        format: Of this file.
        dataset: Name of the data set.
        channels: Of every image.
        labels: The structures.
        regions: Unions of them that networks find as a whole.
        ignored_value: What voxels hold that nobody has judged.
        cases: Ordered by name, those without a label among them.
    """

    model_config = FROZEN

    format: Literal[1] = 1
    dataset: str
    channels: tuple[Channel, ...]
    labels: Labels
    regions: Regions = ()
    ignored_value: int | None = None
    cases: tuple[CaseRecord, ...]

    @property
    def digest(self) -> str:
        """SHA-256 that names the version: over everything but statistics and faults."""
        head = self.model_dump(mode="json", exclude={"cases"})
        cases = [(case.id, case.patient, case.image, case.label) for case in self.cases]
        return hashlib.sha256(json.dumps([head, cases], sort_keys=True).encode()).hexdigest()

    @property
    def by_id(self) -> dict[str, CaseRecord]:
        """The cases by their name."""
        return {case.id: case for case in self.cases}

    @property
    def faulty(self) -> tuple[CaseRecord, ...]:
        """Cases that cannot be read."""
        return tuple(case for case in self.cases if case.fault)


def take_manifest(
    description: DatasetDescription,
    contents: Contents,
    *,
    previous: Manifest | None = None,
    verify: bool = False,
    progress: Progress = SILENT,
) -> Manifest:
    """Look at every case; those whose files are as in `previous` are not decoded again.

    A case that cannot be read is recorded with its fault and does not stop the others.

    Args:
        description: The data set.
        contents: Knows the digests of files.
        previous: An earlier manifest of the same data set.
        verify: Whether every byte is read, whatever is remembered.
        progress: Told after each case.

    Raises:
        OSError: If a file cannot be opened.
    """
    cases = sorted(description.all_cases, key=lambda case: case.id)
    paths = [path for case in cases for path in (*case.images, case.label) if path is not None]
    digests = contents.digests(paths, verify=verify, progress=progress)
    head = Manifest(
        dataset=description.name,
        channels=description.channels,
        labels=description.labels,
        regions=description.regions,
        ignored_value=description.ignored_value,
        cases=(),
    )
    same_head = previous is not None and previous.model_copy(update={"cases": ()}) == head
    known = previous.by_id if previous is not None and same_head else {}

    def record(case: Case) -> CaseRecord:
        image = _joined([digests[path] for path in case.images])
        label = None if case.label is None else digests[case.label]
        old = known.get(case.id)
        if old is not None and (old.image, old.label) == (image, label) and not old.fault:
            return old.model_copy(update={"patient": case.patient})
        return _examined(description, case, image, label)

    with (
        progress.task("looking at cases", len(cases)) as task,
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
    ):
        records = []
        for one in pool.map(record, cases):
            records.append(one)
            task.advance(case=one.id)
    return head.model_copy(update={"cases": tuple(records)})


def save_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write `medseg-version.json`, whole or not at all.

    Raises:
        CannotWrite: If it cannot be written.
    """
    path = folder / FILE_NAME
    write_text(path, manifest.model_dump_json(indent=1) + "\n")
    return path


def parse_manifest(content: bytes, *, what: str) -> Manifest:
    """Read a manifest.

    Args:
        content: Of the file.
        what: What it is, for the message.

    Raises:
        VersionError: If it is none.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise VersionError(
            f"{what} must be the manifest of a data set.",
            received=error.errors()[0]["msg"],
            cure="Make it anew: medseg version add.",
        ) from error


def with_version(
    description: DatasetDescription, path: Path, *, progress: Progress = SILENT
) -> DatasetDescription:
    """The same data set, which says what version it is of, if it is of one.

    Args:
        description: The data set.
        path: Its folder, or the file that describes it.
        progress: Told after each file.

    Raises:
        VersionError: If there is a manifest that is none.
    """
    folder = path if path.is_dir() else path.parent
    version = known_version(description, folder, progress=progress)
    return description.model_copy(update={"data_version": version})


def known_version(
    description: DatasetDescription, folder: Path, *, progress: Progress = SILENT
) -> str:
    """The version that a data set is of at this moment; "" where it has none.

    Only files that were touched since the version was made are read.

    Args:
        description: The data set.
        folder: Where it is described.
        progress: Told after each file.

    Returns:
        The digest of its manifest, if the cases at hand are still those of the manifest.

    Raises:
        VersionError: If the manifest is none.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return ""
    kept = parse_manifest(file.read_bytes(), what=str(file))
    paths = [path for case in description.all_cases for path in (*case.images, case.label) if path]
    memory = folder / MEMORY
    contents = Contents(memory if memory.parent.is_dir() else None)
    digests = contents.digests(paths, progress=progress)
    head = kept.model_dump(mode="json", exclude={"cases", "format"})
    now = description.model_dump(
        mode="json", include={"channels", "labels", "regions", "ignored_value"}
    )
    same = now | {"dataset": description.name} == head and _same_cases(description, kept, digests)
    return kept.digest if same else ""


def _same_cases(
    description: DatasetDescription, kept: Manifest, digests: Mapping[Path, str]
) -> bool:
    now = {
        case.id: (
            case.patient,
            _joined([digests[path] for path in case.images]),
            None if case.label is None else digests[case.label],
        )
        for case in description.all_cases
    }
    return now == {case.id: (case.patient, case.image, case.label) for case in kept.cases}


def _joined(digests: Sequence[str]) -> str:
    """One digest for all image files of a case; "" where one is missing."""
    if not all(digests):
        return ""
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _examined(
    description: DatasetDescription, case: Case, image: str, label: str | None
) -> CaseRecord:
    """A case that is decoded."""
    bare = CaseRecord(id=case.id, patient=case.patient, image=image, label=label)
    try:
        volume = read_case(description, case)
        label_map = None if case.label is None else read_case_label(description, case)
    except (MedsegError, OSError) as error:
        return bare.model_copy(update={"fault": " ".join(str(error).split())})
    facts: dict[str, object] = {
        "grid_size": volume.geometry.grid_size,
        "spacing_mm": tuple(round(x, 6) for x in volume.spacing_mm),
        "intensities": _intensities(volume),
    }
    if label_map is not None:
        facts |= {
            "voxels": _voxels(label_map),
            "volumes_ml": {name: round(ml, 6) for name, ml in label_map.volumes_ml().items()},
        }
    return bare.model_copy(update=facts)


def _intensities(volume: Volume) -> tuple[Intensities, ...]:
    found = []
    for channel in volume.array:
        flat = channel.ravel(order="K")
        sample = flat[:: max(1, flat.size // _SAMPLED_VOXELS)].astype(np.float64)
        low, median, high = (float(x) for x in np.percentile(sample, (1, 50, 99)))
        found.append(
            Intensities(
                mean=_rounded(sample.mean()), std=_rounded(sample.std()),
                percentile_01=_rounded(low), median=_rounded(median), percentile_99=_rounded(high),
            )
        )  # fmt: skip
    return tuple(found)


def _rounded(value: float) -> float:
    """Seven digits, as many as float32 holds."""
    return float(f"{value:.7g}")


def _voxels(label_map: LabelMap) -> str:
    grid: AnyArray = np.round(label_map.geometry.affine, 4) + 0.0
    hasher = hashlib.sha256(f"{label_map.array.shape}{grid.tolist()}".encode())
    hasher.update(np.ascontiguousarray(label_map.array, dtype=np.int32).tobytes())
    return hasher.hexdigest()
