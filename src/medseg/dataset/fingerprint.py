"""What a data set is like, as numbers: all that a plan is made from.

Each case is read once. Sizes and spacings are those after reorientation to RAS and after empty
borders were cut off; intensities are those of the foreground.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from medseg.dataset.crop import bounding_box, nonzero_mask, require_finite
from medseg.dataset.description import (
    Case,
    Channel,
    DatasetDescription,
    read_case,
    read_case_label,
)
from medseg.errors import DatasetError, MissingPath
from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.types import AnyArray, GridSize, SpacingMm
from medseg.volume.labels import Labels
from medseg.volume.regions import Regions
from medseg.volume.volume import LabelMap, Volume

ORIENTATION = "RAS"
"""Axes of all sizes and spacings of a fingerprint."""

SAMPLED_VOXELS = 10_000_000
"""Foreground voxels that the percentiles are taken from, shared by all cases (nnU-Net: 1e8)."""


class ChannelStatistics(BaseModel):
    """Intensities of one channel in the foreground voxels of all cases.

    Attributes:
        mean: Over every foreground voxel.
        std: Over every foreground voxel.
        minimum: Over every foreground voxel.
        maximum: Over every foreground voxel.
        percentile_00_5: 0.5 % of the sampled foreground voxels lie below.
        median: Of the sampled foreground voxels.
        percentile_99_5: 99.5 % of the sampled foreground voxels lie below.
    """

    model_config = FROZEN

    mean: float
    std: float
    minimum: float
    maximum: float
    percentile_00_5: float
    median: float
    percentile_99_5: float


class Fingerprint(BaseModel):
    """A data set as numbers.

    Attributes:
        dataset: Its name.
        cases: How many cases have a label.
        spacings_mm: Of each case, axes R, A, S.
        grid_sizes: Of each case, axes R, A, S, after empty borders were cut off.
        channels: What the image channels are.
        statistics: Foreground intensities of each channel.
        labels: The structures.
        instances: Whether label files number objects of one structure.
        regions: Unions of labels that networks find as a whole, in the order they are painted.
        ignored_value: What voxels hold that nobody has judged; they are counted nowhere.
        class_voxels: Mean voxels of each class in a case; background, which is class 0, first.
        foreground_share: Share of judged voxels (after cutting) that hold any structure, mean of
            cases.
        nonzero_share: Share of voxels that cutting empty borders leaves, median of cases.
        data_hash: SHA-256 over names, sizes and labels of all cases.
    """

    model_config = FROZEN

    dataset: str
    cases: int
    spacings_mm: tuple[SpacingMm, ...]
    grid_sizes: tuple[GridSize, ...]
    channels: tuple[Channel, ...]
    statistics: tuple[ChannelStatistics, ...]
    labels: Labels
    instances: bool = False
    regions: Regions = ()
    ignored_value: int | None = None
    class_voxels: tuple[float, ...]
    foreground_share: float
    nonzero_share: float
    data_hash: str


@dataclass(frozen=True)
class _CaseFacts:
    """What one case adds.

    `moments` (C, 5) holds count, mean, sum of squares about the mean, minimum and maximum of the
    foreground; `sample` (C, n) some of its voxels.
    """

    spacing_mm: SpacingMm
    grid_size: GridSize
    nonzero_share: float
    class_voxels: npt.NDArray[np.int64]
    moments: npt.NDArray[np.float64]
    sample: npt.NDArray[np.float32]
    digest: str


def take_fingerprint(
    description: DatasetDescription, *, progress: Progress = SILENT, workers: int = 2
) -> Fingerprint:
    """Read every labelled case once and sum up what it is like.

    Args:
        description: The data set.
        progress: Told of each case.
        workers: Cases read at the same time.

    Raises:
        DatasetError: If there is no labelled case, or a case cannot be used.
    """
    if not description.cases:
        raise DatasetError(
            f"Training needs cases with a label; {description.name} must have one or more.",
            received="none",
            cure="Check what was found: medseg dataset check DATASET.",
        )
    share = max(1, SAMPLED_VOXELS // len(description.cases))
    facts: dict[int, _CaseFacts] = {}
    with (
        progress.task("Reading cases", len(description.cases)) as task,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        jobs = {
            pool.submit(_case_facts, description, case, share): n
            for n, case in enumerate(description.cases)
        }
        try:
            for job in as_completed(jobs):
                facts[jobs[job]] = job.result()
                task.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _summed_up(description, [facts[n] for n in range(len(facts))])


def save_fingerprint(fingerprint: Fingerprint, path: Path) -> None:
    """Write a fingerprint as JSON, whole or not at all."""
    write_text(path, fingerprint.model_dump_json(indent=2) + "\n")


def load_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint.

    Raises:
        MissingPath: If there is no such file.
        DatasetError: If it holds no fingerprint.
    """
    if not path.is_file():
        raise MissingPath(f"A fingerprint is read from {path}.", received="no file there")
    try:
        return Fingerprint.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DatasetError(
            f"{path} must hold a fingerprint of this version of medseg.",
            received=error.errors()[0]["msg"],
            cure="Delete it; it is taken anew from the data.",
        ) from error


def _case_facts(description: DatasetDescription, case: Case, share: int) -> _CaseFacts:
    volume, label_map = read_case(description, case), read_case_label(description, case)
    require_finite(volume)
    volume, label_map = volume.reoriented(ORIENTATION), label_map.reoriented(ORIENTATION)
    volume.geometry.require_same_space(label_map.geometry, what=f"image and label of {case.id}")
    _, size = bounding_box(nonzero_mask(volume))
    ignored = description.ignored_value
    foreground = label_map.array > 0
    if ignored is not None:
        foreground &= label_map.array != ignored
    moments, sample = _intensities(volume.array, foreground, share)
    i, j, k = (round(s, 6) for s in volume.spacing_mm)
    return _CaseFacts(
        spacing_mm=(i, j, k),
        grid_size=size,
        nonzero_share=float(np.prod(size) / np.prod(volume.geometry.grid_size)),
        class_voxels=_class_voxels(label_map, description.labels, int(np.prod(size)), ignored),
        moments=moments,
        sample=sample,
        digest=_digest(case, volume, label_map),
    )


def _intensities(
    array: AnyArray, foreground: npt.NDArray[np.bool_], share: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Moments (C, 5) of all foreground voxels and an evenly spread sample (C, n) of them."""
    moments, sample = [], []
    for channel in array:
        values = channel[foreground]
        if not values.size:
            moments.append((0.0, 0.0, 0.0, np.inf, -np.inf))
            sample.append(values.astype(np.float32))
            continue
        mean = values.mean(dtype=np.float64)
        about = np.square(values - mean, dtype=np.float64).sum()
        moments.append((values.size, mean, about, values.min(), values.max()))
        sample.append(values[:: -(-values.size // share)].astype(np.float32))
    return np.array(moments, dtype=np.float64), np.array(sample)


def _class_voxels(
    label_map: LabelMap, labels: Labels, voxels: int, ignored_value: int | None
) -> npt.NDArray[np.int64]:
    """Voxels of each class inside the cut grid; what is judged and no structure is background."""
    found = np.bincount(label_map.array.ravel(), minlength=max(x.value for x in labels) + 1)
    counts = [int(found[label.value]) for label in labels]
    if ignored_value is not None and ignored_value < len(found):
        voxels -= int(found[ignored_value])
    return np.array([max(0, voxels - sum(counts)), *counts], dtype=np.int64)


def _digest(case: Case, volume: Volume, label_map: LabelMap) -> str:
    """SHA-256 of a case's name, file names, grid and label voxels."""
    facts = [case.id, *(path.name for path in case.images), list(volume.array.shape)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(np.ascontiguousarray(label_map.array, dtype=np.uint16).tobytes())
    return digest.hexdigest()


def _summed_up(description: DatasetDescription, facts: Sequence[_CaseFacts]) -> Fingerprint:
    voxels = np.array([fact.class_voxels for fact in facts], dtype=np.float64)
    channels = range(len(description.channels))
    digest = hashlib.sha256("".join(fact.digest for fact in facts).encode())
    return Fingerprint(
        dataset=description.name,
        cases=len(facts),
        spacings_mm=tuple(fact.spacing_mm for fact in facts),
        grid_sizes=tuple(fact.grid_size for fact in facts),
        channels=description.channels,
        statistics=tuple(_channel_statistics(facts, n) for n in channels),
        labels=description.labels,
        instances=description.instances,
        regions=description.regions,
        ignored_value=description.ignored_value,
        class_voxels=tuple(voxels.mean(axis=0).tolist()),
        foreground_share=float(
            (voxels[:, 1:].sum(axis=1) / np.maximum(1, voxels.sum(axis=1))).mean()
        ),
        nonzero_share=float(np.median([fact.nonzero_share for fact in facts])),
        data_hash=digest.hexdigest(),
    )


def _channel_statistics(facts: Sequence[_CaseFacts], channel: int) -> ChannelStatistics:
    """Cases joined by their moments (Chan et al. 1979), which loses no digits to large means."""
    count, means, about, low, high = np.stack([fact.moments[channel] for fact in facts]).T
    total = count.sum()
    if total == 0:
        return ChannelStatistics(**dict.fromkeys(ChannelStatistics.model_fields, 0.0))
    mean = float((count * means).sum() / total)
    variance = (about.sum() + (count * np.square(means - mean)).sum()) / total
    pooled = np.concatenate([fact.sample[channel] for fact in facts])
    percentiles: Any = np.percentile(pooled, (0.5, 50, 99.5))
    return ChannelStatistics(
        mean=mean,
        std=float(np.sqrt(variance)),
        minimum=float(low.min()),
        maximum=float(high.max()),
        percentile_00_5=float(percentiles[0]),
        median=float(percentiles[1]),
        percentile_99_5=float(percentiles[2]),
    )
