"""DICOM series with a DICOM-SEG or RTSTRUCT each become a data set; labels are written as NIfTI."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.importers import open_dataset
from medseg.dataset.naming import counted
from medseg.errors import DatasetError
from medseg.files import atomic_folder
from medseg.progress import SILENT, Progress
from medseg.space.onto import labels_onto
from medseg.types import AnyArray, IntArray
from medseg.volume.dicom import Series, find_series, read_series_geometry
from medseg.volume.dicom_labels import (
    choose_referenced,
    described_labels,
    is_dicom_labels,
    read_dicom_labels,
)
from medseg.volume.io import is_dicom_file, write_label_map
from medseg.volume.labels import Label, Labels
from medseg.volume.volume import LabelMap

LABELS_FOLDER = "labels"
"""Where the label maps lie beside the description."""

_CHANNEL_NAMES = {"PT": "SUV"}
"""PET is read in uptake values, which are scaled alike in all cases."""


@dataclass(frozen=True)
class DicomPair:
    """One series and the file that says what is in it.

    Attributes:
        id: Name of the case.
        series: The images.
        label_file: The DICOM-SEG or RTSTRUCT.
        labels: The structures that it describes, with its own values.
    """

    id: str
    series: Series
    label_file: Path
    labels: Labels


def import_dataset(
    raw: Path, out: Path, *, structures: Sequence[str] = (), progress: Progress = SILENT
) -> DatasetDescription:
    """Describe a raw folder; of DICOM labels, write label maps in `out` first.

    Args:
        raw: A folder in any layout that `open_dataset` knows, or one with DICOM series and a
            DICOM-SEG or RTSTRUCT for each, anywhere below it.
        out: Folder for the description.
        structures: Names of the structures of DICOM labels to take; all where not given.
        progress: Told after each case.

    Raises:
        MissingPath: If nothing is there.
        DatasetError: If the folder is in no known layout, or its files contradict each other.
        DicomError: If a series or its labels cannot become voxels.
    """
    try:
        return open_dataset(raw, progress=progress)
    except DatasetError:
        pairs = find_pairs(raw, progress=progress) if raw.is_dir() else ()
        if not pairs:
            raise
    return _described(raw, out, pairs, structures, progress)


def find_pairs(root: Path, *, progress: Progress = SILENT) -> tuple[DicomPair, ...]:
    """All DICOM-SEG and RTSTRUCT files below a folder whose series is there too.

    Args:
        root: The folder.
        progress: Told after each file that was looked at.

    Raises:
        DatasetError: If two of them belong to one series, or a series shares its folder.
        UnreadableFile: If a DICOM file is broken.
    """
    label_files = _label_files(root, progress)
    if not label_files:
        return ()
    every = [one for one in find_series(root) if not one.is_localizer]
    found: dict[str, tuple[Series, Path]] = {}
    for path in label_files:
        series = choose_referenced(path, every)
        if series is None:
            continue
        if series.uid in found:
            raise DatasetError(
                "Each series of a data set has one file of labels.",
                received=f"{found[series.uid][1].name} and {path.name} for {series}",
                cure="Take the one out that shall not be learned from.",
            )
        _require_own_folder(series, every)
        found[series.uid] = (series, path)
    names = _case_names([series for series, _ in found.values()])
    return tuple(
        DicomPair(name, series, path, described_labels(path))
        for name, (series, path) in zip(names, found.values(), strict=True)
    )


def _label_files(root: Path, progress: Progress) -> list[Path]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and is_dicom_file(path)]
    if not files:
        return []
    found = []
    with progress.task("looking for DICOM labels", len(files)) as task:
        for path in files:
            if is_dicom_labels(path):
                found.append(path)
            task.advance()
    return found


def _require_own_folder(series: Series, every: Sequence[Series]) -> None:
    """A case names its images by their folder, which must hold no other series."""
    place = _image_of(series)
    for other in every:
        inside = any(place == path or place in path.parents for path in other.paths)
        if other.uid != series.uid and inside:
            raise DatasetError(
                "Each series of a data set lies in a folder of its own.",
                received=f"{series} and {other} in {place}",
                cure="Move each series, with nothing else, into a folder of its own.",
            )


def _image_of(series: Series) -> Path:
    """The folder of a series, or the one file of all its frames."""
    return series.paths[0] if len(series.paths) == 1 else series.paths[0].parent


def _case_names(series: Sequence[Series]) -> list[str]:
    """The patient's id, with what tells several series of one patient apart."""
    patients = Counter(one.patient_id for one in series)
    taken: set[str] = set()
    names = []
    for one in series:
        words = [one.patient_id or "case"]
        if patients[one.patient_id] > 1 or not one.patient_id:
            words += [one.modality, one.number]
        base = re.sub(r"[^A-Za-z0-9._-]+", "_", "_".join(filter(None, words))).strip("._")[:64]
        name, n = base or "case", 2
        while name in taken:
            name, n = f"{base}-{n}", n + 1
        taken.add(name)
        names.append(name)
    return names


def _described(
    raw: Path,
    out: Path,
    pairs: Sequence[DicomPair],
    structures: Sequence[str],
    progress: Progress,
) -> DatasetDescription:
    modality = _modality_of(pairs)
    labels = _common_labels(pairs, structures)
    folder = out.absolute() / LABELS_FOLDER
    with (
        atomic_folder(folder) as temporary,
        progress.task("labels", len(pairs)) as task,
    ):
        for pair in pairs:
            write_label_map(label_map_of(pair, labels), temporary / f"{pair.id}.nii.gz")
            task.advance(case=pair.id)
    cases = tuple(
        Case(
            id=pair.id,
            images=(_image_of(pair.series).absolute(),),
            label=folder / f"{pair.id}.nii.gz",
            patient=pair.series.patient_id or None,
        )
        for pair in sorted(pairs, key=lambda pair: pair.id)
    )
    return DatasetDescription(
        name=raw.absolute().name,
        channels=(Channel(name=_CHANNEL_NAMES.get(modality, modality), modality=modality),),
        labels=labels,
        cases=cases,
        notes=(
            f"Labels of {counted(len(pairs), 'DICOM file')} were written as NIfTI in {folder}.",
            *_rare(pairs, labels),
        ),
    )


def _modality_of(pairs: Sequence[DicomPair]) -> str:
    modalities = sorted({pair.series.modality for pair in pairs})
    if len(modalities) > 1:
        raise DatasetError(
            "The labelled series of a data set are of one modality.",
            received=", ".join(modalities),
            cure="Import the folders of one modality at a time.",
        )
    return modalities[0] or "image"


def _common_labels(pairs: Sequence[DicomPair], structures: Sequence[str]) -> Labels:
    """One value for each name: that of the files where they agree, else by order of names."""
    by_name: dict[str, Label] = {}
    for pair in pairs:
        for label in pair.labels:
            if not structures or label.name in structures:
                by_name.setdefault(label.name, label)
    missing = [name for name in structures if name not in by_name]
    if missing or not by_name:
        known = sorted({label.name for pair in pairs for label in pair.labels})
        raise DatasetError(
            "A data set has the structures that were chosen.",
            received=f"no {', '.join(missing) or 'structure'} among {', '.join(known[:20])}",
            cure="Look up the names: medseg info FILE.",
        )
    values = [label.value for label in by_name.values()]
    agreed = len(set(values)) == len(values) and all(
        label.value == by_name[label.name].value
        for pair in pairs
        for label in pair.labels
        if label.name in by_name
    )
    if agreed:
        return tuple(sorted(by_name.values(), key=lambda label: label.value))
    named = sorted(by_name.values(), key=lambda label: label.name)
    return tuple(
        label.model_copy(update={"value": value}) for value, label in enumerate(named, start=1)
    )


def label_map_of(pair: DicomPair, labels: Labels) -> LabelMap:
    """The structures of a pair on the grid of its series, with the values of a data set.

    Args:
        pair: The series and its labels.
        labels: Of the data set; other structures of the file are left out.

    Raises:
        DicomError: If the series or its labels cannot become voxels.
    """
    value_of = {label.name: label.value for label in labels}
    chosen = [label.name for label in pair.labels if label.name in value_of]
    grid = read_series_geometry(pair.series)
    own = labels_onto(read_dicom_labels(pair.label_file, reference=grid, structures=chosen), grid)
    table = _table(own.labels, value_of)
    array: IntArray = table[own.array]
    return LabelMap(array, grid, labels, own.source)


def _table(own: Labels, value_of: dict[str, int]) -> AnyArray:
    table = np.zeros(max((label.value for label in own), default=0) + 1, dtype=np.uint16)
    for label in own:
        table[label.value] = value_of[label.name]
    return table


def _rare(pairs: Sequence[DicomPair], labels: Labels) -> list[str]:
    """A sentence for each structure that is not in all files."""
    count = Counter(label.name for pair in pairs for label in pair.labels)
    return [
        f"{label.name} is described in {count[label.name]} of {counted(len(pairs), 'case')}."
        for label in labels
        if count[label.name] < len(pairs)
    ]
