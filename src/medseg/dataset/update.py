"""Corrected labels taken back into a described data set, and new cases with theirs.

Every file is read and checked before the first one is written; the description comes last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.dataset.copies import IMAGES_FOLDER, LABELS_FOLDER, copy_images, image_places
from medseg.dataset.description import (
    FILE_NAME,
    Case,
    DatasetDescription,
    fit_channels,
    load_description,
    read_case_label,
    save_description,
)
from medseg.dataset.dicom_pairs import DicomPair, label_map_of
from medseg.dataset.naming import counted, label_base, visible
from medseg.errors import DatasetError, LabelError, MedsegError, MissingPath
from medseg.progress import SILENT, Progress
from medseg.volume.dicom import find_series, read_series
from medseg.volume.dicom_labels import choose_referenced, described_labels, is_dicom_labels
from medseg.volume.geometry import Geometry
from medseg.volume.io import (
    is_dicom_file,
    is_image_file,
    read_geometry,
    read_label_map,
    read_volume,
    stem_of,
    write_label_map,
)
from medseg.volume.labels import Labels
from medseg.volume.placing import place
from medseg.volume.regions import with_ignored
from medseg.volume.volume import LabelMap, Volume


class Update(NamedTuple):
    """What was taken.

    Attributes:
        description: The data set afterwards.
        added: Cases that are new.
        labelled: Cases that had no label before.
        relabelled: Cases with another label than before.
        unchanged: Cases whose label was the same already.
    """

    description: DatasetDescription
    added: tuple[str, ...]
    labelled: tuple[str, ...]
    relabelled: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Taken:
    """A label that was read: its case as it is or will be, and where its files go."""

    case: Case
    label_map: LabelMap
    label_file: Path
    images: tuple[Path, ...] = ()
    """Of a new case: the files to copy; none of a known case."""


def update_labels(
    data: Path,
    labels: Path,
    *,
    images: Mapping[str, Sequence[Path]] | None = None,
    progress: Progress = SILENT,
) -> Update:
    """Take labels into a described data set.

    A label file has the name of its case ("X.nii.gz" or "X_seg.nii.gz"), or is a DICOM-SEG or
    RTSTRUCT of the case's series. Its voxels must be those of the image, in any order of axes. A
    label file outside of the data set's folder is left as it is, and a new one written inside.

    Args:
        data: Folder of the data set.
        labels: Folder of label files, or one file.
        images: Cases that may be new: name -> image files, which are copied into the folder of the
            data set.
        progress: Told after each label.

    Raises:
        MissingPath: If there are no labels, or no description.
        DatasetError: If a label is of no known case, or two are of one.
        LabelError: If a file holds values or structures that the data set does not have.
        DifferentSpace: If a label lies on other voxels than its image.
        CannotWrite: If files cannot be written.
    """
    if not (data / FILE_NAME).is_file():
        raise MissingPath(
            f"Labels are taken into a described data set, which has a file {FILE_NAME}.",
            received=f"none in {data}",
            cure=f"Describe it first: medseg dataset import {data} --out {data}.",
        )
    description = load_description(data)
    found = _found(description, labels, images or {})
    home = data.absolute()
    taken: list[_Taken] = []
    faults: list[tuple[str, MedsegError]] = []
    with progress.task("checking labels", len(found)) as task:
        for name, file in sorted(found.items()):
            try:
                taken.append(_read(description, home, name, file, images or {}))
            except MedsegError as error:
                faults.append((name, error))
            task.advance(case=name)
    if faults:
        raise _first_of(faults)
    return _written(description, home, taken, progress)


def _found(
    description: DatasetDescription, labels: Path, images: Mapping[str, Sequence[Path]]
) -> dict[str, Path]:
    """Case -> label file.

    Raises:
        DatasetError: If a file is of no known case, or two are of one.
    """
    if not labels.exists():
        raise MissingPath("Labels are files in a folder.", received=f"nothing at {labels}")
    files = [labels] if labels.is_file() else [path for path in visible(labels) if path.is_file()]
    known = {case.id for case in description.all_cases} | set(images)
    found: dict[str, Path] = {}
    strange: list[Path] = []
    for file in files:
        if is_image_file(file):
            stem = stem_of(file)
            names = (stem, label_base(stem) or "")
            name = next((one for one in names if one in known), None)
        elif is_dicom_file(file) and is_dicom_labels(file):
            name = _case_of(file, description, images)
        else:
            continue
        if name is None:
            strange.append(file)
        elif found.setdefault(name, file) != file:
            raise DatasetError(
                "Each case gets one label file.",
                received=f"{found[name].name} and {file.name} for {name}",
                cure="Take one of them away.",
            )
    if strange:
        shown = ", ".join(path.name for path in strange[:5]) + ", ..." * (len(strange) > 5)
        raise DatasetError(
            f"Labels belong to cases of {description.name}.",
            received=f"{counted(len(strange), 'file')} of unknown cases: {shown}",
            cure="Name them after their cases; for new cases, give their images with --images.",
        )
    if not found:
        raise MissingPath("There is a label file to take.", received=f"none in {labels}")
    return found


def _case_of(
    file: Path, description: DatasetDescription, images: Mapping[str, Sequence[Path]]
) -> str | None:
    """The case whose DICOM series a file of labels belongs to."""
    pictures = {case.id: case.images for case in description.all_cases} | dict(images)
    for name, paths in pictures.items():
        first = paths[0]
        if first.is_dir() or (not is_image_file(first) and first.is_file()):
            series = find_series(first if first.is_dir() else first.parent)
            if choose_referenced(file, series) is not None:
                return name
    return None


def _read(
    description: DatasetDescription,
    home: Path,
    name: str,
    file: Path,
    images: Mapping[str, Sequence[Path]],
) -> _Taken:
    """Read a label on the grid of its case's image, and decide where it goes."""
    known = {case.id: case for case in description.all_cases}
    labels_folder = home / _common_folder(description, home, labels=True)
    if name in known:
        case = known[name]
        label_map = _label_map(description, file, case.images, read_geometry(case.images[0]))
        inside = case.label is not None and case.label.is_relative_to(home)
        place_of_it = case.label if inside else None
        return _Taken(case, label_map, place_of_it or labels_folder / f"{name}.nii.gz")
    pictures = tuple(images[name])
    image = _image(pictures)
    fit_channels(image, description.channels, what=f"case {name}")
    label_map = _label_map(description, file, pictures, image.geometry)
    folder = home / _common_folder(description, home, labels=False)
    places = image_places(name, pictures, folder)
    label_file = labels_folder / f"{name}.nii.gz"
    return _Taken(Case(id=name, images=places, label=label_file), label_map, label_file, pictures)


def _image(images: Sequence[Path]) -> Volume:
    """The image of a new case: files, a DICOM folder, or the files of one series."""
    if len(images) == 1 or is_image_file(images[0]):
        return read_volume(tuple(images))
    for series in find_series(images[0].parent):
        if set(images) <= set(series.paths):
            return read_series(series)
    raise DatasetError("The images of a case are one series.", received=str(images[0].parent))


def _label_map(
    description: DatasetDescription, file: Path, images: Sequence[Path], grid: Geometry
) -> LabelMap:
    """A label file on the grid of its image, with the values of the data set."""
    if not is_image_file(file):
        return _dicom_label_map(description, file, images)
    allowed = with_ignored(description.labels, description.ignored_value)
    try:
        found = read_label_map(file, None if description.instances else allowed)
    except LabelError as error:
        raise LabelError(
            error.rule,
            received=error.received,
            cure=f"{description.name} has "
            + ", ".join(f"{label.value} ({label.name})" for label in allowed)
            + "; relabel the file.",
        ) from error
    return place(found, grid)


def _dicom_label_map(
    description: DatasetDescription, file: Path, images: Sequence[Path]
) -> LabelMap:
    known: Labels = description.labels
    described = described_labels(file)
    strange = [one.name for one in described if one.name not in {label.name for label in known}]
    if strange:
        raise LabelError(
            "Structures of a label file are those of the data set.",
            received=", ".join(strange[:8]),
            cure=f"{description.name} has {', '.join(one.name for one in known)}; rename them.",
        )
    folder = images[0] if images[0].is_dir() else images[0].parent
    series = choose_referenced(file, find_series(folder))
    if series is None:
        raise DatasetError("DICOM labels belong to the series of their case.", received=str(file))
    return label_map_of(DicomPair("", series, file, described), known)


def _common_folder(description: DatasetDescription, home: Path, *, labels: bool) -> str:
    """The folder below the data set's in which all images, or all labels, lie; else a new one."""
    images = {path.parent for case in description.cases for path in case.images}
    drawn = {case.label.parent for case in description.cases if case.label is not None}
    mine, other = (drawn, images) if labels else (images, drawn)
    default = LABELS_FOLDER if labels else IMAGES_FOLDER
    if len(mine) != 1 or mine & other:
        return default
    (folder,) = mine
    inside = folder.is_relative_to(home) and folder != home
    return folder.relative_to(home).as_posix() if inside else default


def _first_of(faults: Sequence[tuple[str, MedsegError]]) -> MedsegError:
    """The first of several faults, which says how many more there are."""
    name, error = faults[0]
    others = ", ".join(one for one, _ in faults[1:4]) + ", ..." * (len(faults) > 4)
    more = f"; faults in {counted(len(faults) - 1, 'more case')} too: {others}" if others else ""
    return type(error)(error.rule, received=f"{name}: {error.received}{more}", cure=error.cure)


def _written(
    description: DatasetDescription, home: Path, taken: Sequence[_Taken], progress: Progress
) -> Update:
    """Write labels, copy images, and then write the description."""
    labelled_before = {case.id for case in description.cases}
    groups: dict[str, list[str]] = {"added": [], "labelled": [], "relabelled": [], "unchanged": []}
    cases = {case.id: case for case in description.cases}
    unlabelled = {case.id: case for case in description.unlabelled}
    with progress.task("writing labels", len(taken)) as task:
        for one in taken:
            name = one.case.id
            if one.images:
                copy_images(one.images, one.case.images)
                kind = "added"
            elif name not in labelled_before:
                kind = "labelled"
            else:
                kind = "unchanged" if _is_same(description, one) else "relabelled"
            if kind != "unchanged":
                write_label_map(one.label_map, one.label_file)
                cases[name] = one.case.model_copy(update={"label": one.label_file})
            groups[kind].append(name)
            unlabelled.pop(name, None)
            task.advance(case=name)
    changed = description.model_copy(
        update={
            "cases": tuple(cases[name] for name in sorted(cases)),
            "unlabelled": tuple(unlabelled[name] for name in sorted(unlabelled)),
        }
    )
    if changed != description:
        save_description(changed, home)
    return Update(changed, *(tuple(groups[kind]) for kind in groups))


def _is_same(description: DatasetDescription, one: _Taken) -> bool:
    """Whether the label that is there has the same voxels; one that cannot be read has not."""
    try:
        there = read_case_label(description, one.case)
    except MedsegError:
        return False
    new = one.label_map.array
    if description.instances:
        new = np.where(new > 0, description.labels[0].value, 0)
    return there.array.shape == new.shape and bool((there.array == new).all())
