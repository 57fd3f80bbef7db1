"""A described data set laid out as nnU-Net v2 reads it: its raw folder, with the same folds.

`DatasetXXX_Name/` holds `imagesTr`, `labelsTr`, `imagesTs` and `dataset.json`, all images as
`.nii.gz`, one file for each channel. A file that is already so is linked, or copied where the disk
cannot link; others are written anew. nnU-Net wants label values without a gap and ignored voxels
above them: where a data set has others, label files are written with new values.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.dataset.description import (
    Case,
    Channel,
    DatasetDescription,
    read_case,
    read_case_label,
)
from medseg.dataset.folds import Folds
from medseg.errors import CannotWrite, DatasetError
from medseg.files import atomic_folder
from medseg.progress import SILENT, Progress
from medseg.types import IntArray
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.labels import Label, Labels
from medseg.volume.nifti import is_plain_nifti, read_nifti_geometry
from medseg.volume.regions import IGNORED_NAME
from medseg.volume.volume import LabelMap, Volume

ENDING = ".nii.gz"
TABLE, SPLITS = "dataset.json", "splits_final.json"

_CHANNEL_WORDS = {"CT": "CT", "RGB": "rgb_to_0_1"}
"""What nnU-Net calls channels that it does not bring to a mean of 0; all else gets a z-score."""


@dataclass(frozen=True)
class RawFolder:
    """What was written.

    Attributes:
        folder: `DatasetXXX_Name`.
        linked: Files that are links to the data set's own.
        written: Files that were copied, or written anew.
        values: Label value of the data set -> value in the files, ignored voxels included.
    """

    folder: Path
    linked: int
    written: int
    values: Mapping[int, int]


def export_nnunet(
    description: DatasetDescription,
    out: Path,
    *,
    number: int,
    folds: Folds | None = None,
    progress: Progress = SILENT,
) -> RawFolder:
    """Lay out a data set as nnU-Net v2 reads it.

    Args:
        description: The data set.
        out: Where the folder `DatasetXXX_Name` is made: nnU-Net's `nnUNet_raw`.
        number: XXX, from 1 to 999.
        folds: Become `splits_final.json`, which nnU-Net looks for in `nnUNet_preprocessed`.
        progress: Told after each case.

    Raises:
        DatasetError: If the number is none that nnU-Net takes, or a case has other channels.
        CannotWrite: If the folder cannot be written, or is something else already.
        FileError: If a file cannot be read.
        DifferentSpace: If channels, or image and label, of a case lie on different grids.
    """
    if not 1 <= number <= 999:
        raise DatasetError(
            "nnU-Net numbers its data sets from 1 to 999.",
            received=str(number),
            cure="Choose a number that is free in nnUNet_raw.",
        )
    name = re.sub(r"[^A-Za-z0-9]+", "_", description.name).strip("_") or "Dataset"
    folder = out / f"Dataset{number:03d}_{name}"
    _require_own_place(folder)
    values = _new_values(description)
    counts = {True: 0, False: 0}
    with atomic_folder(folder) as temporary:
        for part in ("imagesTr", "labelsTr", *(["imagesTs"] if description.unlabelled else [])):
            (temporary / part).mkdir()
        with progress.task("exporting", len(description.all_cases)) as task:
            for case in description.all_cases:
                for is_link in _lay(description, case, values, temporary):
                    counts[is_link] += 1
                task.advance()
        _write_tables(description, values, folds, temporary)
    return RawFolder(folder, counts[True], counts[False], values)


def _lay(
    description: DatasetDescription, case: Case, values: Mapping[int, int], folder: Path
) -> list[bool]:
    """Files of one case; whether each is a link."""
    images = folder / ("imagesTr" if case.label is not None else "imagesTs")
    places = [images / f"{case.id}_{n:04d}{ENDING}" for n in range(len(description.channels))]
    grid = _stored_grid(case, len(places))
    if grid is not None:
        done = [_linked(path, place) for path, place in zip(case.images, places, strict=True)]
    else:
        volume = read_case(description, case)
        grid = volume.geometry
        for n, place in enumerate(places):
            one = Volume(volume.array[n : n + 1], grid, ("image",), volume.source)
            write_volume(one, place)
        done = [False] * len(places)
    if case.label is not None:
        done.append(_lay_label(description, case, values, folder, grid))
    return done


def _lay_label(
    description: DatasetDescription,
    case: Case,
    values: Mapping[int, int],
    folder: Path,
    grid: Geometry,
) -> bool:
    """The label file of a case, on the grid of its image; whether it is a link."""
    assert case.label is not None
    place = folder / "labelsTr" / f"{case.id}{ENDING}"
    keeps = not description.instances and all(old == new for old, new in values.items())
    if keeps and _is_plain(case.label) and _same_voxels(read_nifti_geometry(case.label), grid):
        return _linked(case.label, place)
    label_map = read_case_label(description, case).reoriented(grid.orientation)
    grid.require_same_space(label_map.geometry, what=f"image and label of case {case.id}")
    write_label_map(_with_values(label_map, values, grid), place)
    return False


def _with_values(label_map: LabelMap, values: Mapping[int, int], grid: Geometry) -> LabelMap:
    """The same structures with other values."""
    kind = np.min_scalar_type(max(values.values()))
    table: IntArray = np.zeros(int(label_map.array.max()) + 1, kind)
    for old, new in values.items():
        if old < table.size:
            table[old] = new
    labels: Labels = tuple(Label(value=values[x.value], name=x.name) for x in label_map.labels)
    return LabelMap(table[label_map.array], grid, labels, label_map.source)


def _stored_grid(case: Case, channels: int) -> Geometry | None:
    """The grid of a case whose files nnU-Net can read as they are; None where they are not so."""
    if len(case.images) != channels or not all(_is_plain(path) for path in case.images):
        return None
    first, *others = (read_nifti_geometry(path) for path in case.images)
    return first if all(_same_voxels(first, other) for other in others) else None


def _is_plain(path: Path) -> bool:
    return path.is_file() and path.name.endswith(ENDING) and is_plain_nifti(path)


def _same_voxels(one: Geometry, other: Geometry) -> bool:
    return one.grid_size == other.grid_size and np.allclose(one.affine, other.affine, atol=1e-4)


def _linked(path: Path, place: Path) -> bool:
    """The same bytes at another place; whether by a link."""
    try:
        os.link(path.resolve(), place)
    except OSError:
        shutil.copyfile(path, place)
        return False
    return True


def _new_values(description: DatasetDescription) -> dict[int, int]:
    """Old value -> new value: 1, 2, ... for structures, the next one for ignored voxels."""
    old = [label.value for label in description.labels]
    if description.ignored_value is not None:
        old.append(description.ignored_value)
    return {value: n for n, value in enumerate(old, start=1)}


def _write_tables(
    description: DatasetDescription, values: Mapping[int, int], folds: Folds | None, folder: Path
) -> None:
    """`dataset.json`, patients where they are known, and `splits_final.json`."""
    (folder / TABLE).write_text(json.dumps(_table(description, values), indent=1) + "\n", "utf-8")
    patients = [(case.id, case.patient) for case in description.all_cases if case.patient]
    if patients:
        rows = ["case,patient", *(f'"{case}","{who}"' for case, who in patients)]
        (folder / "patients.csv").write_text("\n".join(rows) + "\n", "utf-8")
    if folds is not None:
        splits = [
            {"train": list(folds.training(n)), "val": list(folds.validation[n])}
            for n in range(folds.count)
        ]
        (folder / SPLITS).write_text(json.dumps(splits, indent=1) + "\n", "utf-8")


def _table(description: DatasetDescription, values: Mapping[int, int]) -> dict[str, Any]:
    labels: dict[str, Any] = {"background": 0}
    structures = {label.name: values[label.value] for label in description.labels}
    if description.regions:
        for region in description.regions:
            inside = [values[value] for value in region.values]
            labels[region.name] = inside if len(inside) > 1 else inside[0]
    else:
        labels |= structures
    if description.ignored_value is not None:
        labels[IGNORED_NAME] = values[description.ignored_value]
    table: dict[str, Any] = {
        "name": description.name,
        "licence": description.licence,
        "channel_names": {str(n): _word(x) for n, x in enumerate(description.channels)},
        "labels": labels,
        "numTraining": len(description.cases),
        "file_ending": ENDING,
        "medseg": {
            "channels": [channel.model_dump() for channel in description.channels],
            "labels": structures,
            "values_before": {str(new): old for old, new in values.items()},
        },
    }
    if description.regions:
        table["regions_class_order"] = [values[x.painted] for x in description.regions]
    return table


def _word(channel: Channel) -> str:
    """The name that nnU-Net chooses a normalisation by."""
    return _CHANNEL_WORDS.get(channel.modality, channel.name)


def _require_own_place(folder: Path) -> None:
    """An export replaces an export, and nothing else."""
    if folder.exists() and not (folder / TABLE).is_file():
        raise CannotWrite(
            "A data set for nnU-Net is written to a new place, or over an older one.",
            received=f"{folder}, which holds something else",
            cure="Choose another --out or --id.",
        )
