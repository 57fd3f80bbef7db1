"""What label files hold, where no list of labels says so."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.dataset.labelfile import count_fractions, raw_label
from medseg.errors import DatasetError, LabelError, MedsegError
from medseg.progress import SILENT, Progress
from medseg.volume.io import read_label_map
from medseg.volume.labels import LARGEST_LABEL, Label, Labels, make_labels
from medseg.volume.volume import distinct_values

SCAN_BYTES = 64_000_000
"""Label files are read up to this size on disk all in all; of a larger set, an even sample."""

_PIECES_READ = 8
_MOST_STRUCTURES = 256
_OBJECTS_AT_LEAST = 5
_MOSTLY = 0.9


@dataclass(frozen=True)
class Meaning:
    """What the values of label files mean.

    Attributes:
        labels: The structures.
        instances: Whether the values number objects of one structure.
        notes: How that was decided.
    """

    labels: Labels
    instances: bool
    notes: tuple[str, ...]


def find_meaning(
    paths: Sequence[Path], names: dict[int, str], *, progress: Progress = SILENT
) -> Meaning:
    """Read label files, in part if there are many, and tell what their values mean.

    Args:
        paths: Label files.
        names: Value -> name, where the data set has a list.
        progress: Told about each file.

    Raises:
        MedsegError: If not one of the files can be read.
        DatasetError: If all of them are empty, or hold more values than structures can have.
    """
    sample = _sample(paths)
    values = _values(sample, progress)
    notes = []
    if len(sample) < len(paths):
        notes.append(
            f"Label values were read from {len(sample)} of {len(paths)} files; "
            "`medseg dataset check` reads all."
        )
    if not names and _numbers_objects(values):
        most = max(len(found) for found in values.values())
        notes.append(
            f"Label files number objects (1 to n, up to {most} in one image): every object is "
            "one structure."
        )
        return Meaning((Label(value=1, name="object"),), True, tuple(notes))
    found = sorted(set().union(*values.values(), names if len(sample) < len(paths) else ()) - {0})
    _require_structures(found, sample[0])
    return Meaning(_named(found, names), False, tuple(notes))


def names_beside(root: Path) -> dict[int, str]:
    """Value -> name from a `labels.json` in a folder: `{"1": "spleen"}` or `{"spleen": 1}`."""
    path = root / "labels.json"
    if not path.is_file():
        return {}
    try:
        return value_names(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            "A labels.json is a table of values and names, such as {'1': 'spleen'}.",
            received=f"{path}: {error}",
        ) from error


def value_names(table: dict[str, object]) -> dict[int, str]:
    """Turn MSD's `{"1": "spleen"}` or nnU-Net's `{"spleen": 1}` into value -> name."""
    if all(key.strip().isdigit() for key in table):
        return {int(key): str(name) for key, name in table.items()}
    return {int(str(value)): name for name, value in table.items()}


def _sample(paths: Sequence[Path]) -> list[Path]:
    """All files if they are small together; else as many of them, evenly taken."""
    there = [path for path in paths if path.is_file()]
    size = sum(path.stat().st_size for path in there)
    if size <= SCAN_BYTES:
        return there
    count = max(_PIECES_READ, int(len(there) * SCAN_BYTES / size))
    return [there[n] for n in np.unique(np.linspace(0, len(there) - 1, count).astype(int))]


def _values(paths: Sequence[Path], progress: Progress) -> dict[Path, frozenset[int]]:
    """The values above 0 of each file that can be read."""
    first: list[MedsegError] = []
    values: dict[Path, frozenset[int]] = {}

    def read(path: Path) -> frozenset[int] | None:
        try:
            return _values_in(path)
        except MedsegError as error:
            first.append(error)
            return None

    with (
        progress.task("reading label values", len(paths)) as task,
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
    ):
        for path, found in zip(paths, pool.map(read, paths), strict=True):
            task.advance()
            if found is not None:
                values[path] = found
    if not values and first:
        raise first[0]
    return values


def _values_in(path: Path) -> frozenset[int]:
    """The values above 0 of a label file.

    Raises:
        LabelError: If it holds fractions or values below 0.
        FileError: If it cannot be read.
    """
    array, _ = raw_label(path)
    fractions = array.dtype.kind == "f" and count_fractions(array)
    if fractions or array.min() < 0 or array.max() > LARGEST_LABEL:
        raise LabelError(
            f"Label values are whole numbers from 0 to {LARGEST_LABEL}.",
            received=f"fractions or other values in {path}",
            cure="Resample the label map as labels (nearest or by vote), and save whole numbers.",
        )
    return frozenset(distinct_values(array) - {0})


def _numbers_objects(values: dict[Path, frozenset[int]]) -> bool:
    """Whether values count objects: 1 to n in each file, n differs, each value is one piece."""
    filled = {path: found for path, found in values.items() if found}
    if len(filled) < 2:
        return False
    counted = [max(found) == len(found) for found in filled.values()]
    numbers = sorted(len(found) for found in filled.values())
    varied = len(set(numbers)) >= min(3, len(filled))
    if sum(counted) < _MOSTLY * len(counted) or not varied or numbers[-1] < _OBJECTS_AT_LEAST:
        return False
    richest = sorted(filled, key=lambda path: len(filled[path]))[-_PIECES_READ:]
    pieces = [number for path in richest for number in _pieces(path)]
    return sum(number == 1 for number in pieces) >= _MOSTLY * len(pieces)


def _pieces(path: Path) -> list[int]:
    """How many connected pieces each value of a label file has."""
    array = read_label_map(path).array
    touching = np.ones((3, 3, 3))
    found = []
    for value, box in enumerate(ndimage.find_objects(array), start=1):
        if box is not None:
            found.append(int(ndimage.label(array[box] == value, structure=touching)[1]))
    return found


def _require_structures(values: list[int], example: Path) -> None:
    if not values:
        raise DatasetError(
            "At least one label file must hold a structure.",
            received="only background in all of them",
            cure="Check that these are the label files, and not images or empty masks.",
        )
    if len(values) > _MOST_STRUCTURES or example.suffix.lower() in (".jpg", ".jpeg"):
        raise DatasetError(
            "The values of label files stand for structures, each with one number.",
            received=f"{len(values)} values, as in {example.name}",
            cure="JPEG and rescaled labels hold mixed values: save label maps as PNG or NIfTI.",
        )


def _named(values: list[int], names: dict[int, str]) -> Labels:
    if len(values) == 1 and values[0] not in names:
        return (Label(value=values[0], name="foreground"),)
    return make_labels(
        Label(value=value, name=names.get(value, f"label_{value}")) for value in values
    )
