"""What a data set holds: cases, channels, labels and patients, written down in one file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from medseg.errors import DatasetError, MissingPath
from medseg.files import write_text
from medseg.specs import FROZEN
from medseg.volume.io import read_label_map, read_volume
from medseg.volume.labels import Labels, make_labels
from medseg.volume.regions import Regions, require_regions, with_ignored
from medseg.volume.volume import LabelMap, Volume

FILE_NAME = "medseg-dataset.json"
"""Name of the file that describes a data set."""


class Channel(BaseModel):
    """One channel of every case's image.

    Attributes:
        name: What people call it: "T1w", "FLAIR", "red".
        modality: "CT", "MR", "PT", "RGB" and so on; "" where it is not known.
    """

    model_config = FROZEN

    name: str = Field(min_length=1, max_length=64)
    modality: str = ""


class Case(BaseModel):
    """One image and its label file.

    Attributes:
        id: Unique in the data set; results carry it as their file name.
        images: One file for each channel, or one file or DICOM folder that holds all of them.
        label: The label file; None where nobody has drawn one yet.
        patient: Whose image it is, where that is known: folds keep a patient's cases together.
    """

    model_config = FROZEN

    id: str = Field(min_length=1, pattern=r"^[^/\\]+$")
    images: tuple[Path, ...] = Field(min_length=1)
    label: Path | None = None
    patient: str | None = None


class DatasetDescription(BaseModel):
    """All cases of a data set and what their values mean.

    Attributes:
        version: Version of this form.
        name: What people call the data set.
        channels: Channels of every image, in order.
        labels: Structures of every label file.
        cases: Cases with a label file, ordered by id.
        unlabelled: Cases without one.
        regions: Unions of labels that networks find as a whole, in the order they are painted; none
            where each label is found for itself.
        ignored_value: What voxels hold that nobody has judged; None where all are judged.
        instances: Whether label files number objects: then every value above 0 is the one label.
        licence: Under which terms the data may be used; "" where nothing is said.
        notes: What the importer decided, one sentence each.
        data_version: Digest of the version that the cases are of, found when they are trained on
            (`medseg.dataset.manifest`) and never written; "" where it is not known.

    Raises:
        DatasetError: If ids are not unique, or a case has another number of images.
        LabelError: If values or names of labels are not unique, or regions cannot be painted.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    name: str = Field(min_length=1)
    channels: tuple[Channel, ...] = Field(min_length=1)
    labels: Labels = Field(min_length=1)
    cases: tuple[Case, ...]
    unlabelled: tuple[Case, ...] = ()
    instances: bool = False
    regions: Regions = ()
    ignored_value: int | None = Field(default=None, ge=1)
    licence: str = ""
    notes: tuple[str, ...] = ()
    data_version: str = Field(default="", exclude=True)

    @model_validator(mode="after")
    def _check(self) -> "DatasetDescription":
        make_labels(self.labels)
        with_ignored(self.labels, self.ignored_value)
        require_regions(self.regions, self.labels)
        seen: set[str] = set()
        for case in self.all_cases:
            if case.id in seen:
                raise DatasetError(
                    "Each case of a data set has an id of its own.",
                    received=f"{case.id!r} twice",
                    cure="Rename one of the files.",
                )
            seen.add(case.id)
            if len(case.images) not in (1, len(self.channels)):
                raise DatasetError(
                    "A case has one file for each channel, or one file with all channels.",
                    received=f"{len(case.images)} files for {len(self.channels)} channels "
                    f"in case {case.id}",
                )
        return self

    @property
    def all_cases(self) -> tuple[Case, ...]:
        """Cases with a label, then those without."""
        return self.cases + self.unlabelled

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, in order."""
        return tuple(channel.name for channel in self.channels)

    def case(self, case_id: str) -> Case:
        """The case of this id.

        Raises:
            DatasetError: If there is none.
        """
        for case in self.all_cases:
            if case.id == case_id:
                return case
        raise DatasetError(f"The data set {self.name} has no such case.", received=repr(case_id))


def read_case(description: DatasetDescription, case: Case) -> Volume:
    """The image of a case with all channels of the data set.

    Raises:
        MissingPath: If one of its files is not there.
        DifferentSpace: If its channels lie on different grids.
        DatasetError: If the file holds another number of channels.
        FileError: If a file cannot be read.
    """
    for path in case.images:
        _require(path, case)
    volume = read_volume(case.images)
    return fit_channels(volume, description.channels, what=f"case {case.id}")


def read_case_label(description: DatasetDescription, case: Case) -> LabelMap:
    """The label map of a case, with the data set's labels; ignored voxels have one called "ignore".

    Where label files number objects, every object becomes the one label.

    Raises:
        DatasetError: If the case has no label.
        MissingPath: If its label file is not there.
        LabelError: If the file holds values without a label, or fractions.
        FileError: If the file cannot be read.
    """
    if case.label is None:
        raise DatasetError("This case has no label file.", received=case.id)
    _require(case.label, case)
    if not description.instances:
        return read_label_map(
            case.label, with_ignored(description.labels, description.ignored_value)
        )
    objects = read_label_map(case.label)
    array = np.where(objects.array > 0, description.labels[0].value, 0).astype(np.uint16)
    return LabelMap(array, objects.geometry, description.labels, objects.source)


def fit_channels(volume: Volume, channels: tuple[Channel, ...], *, what: str = "image") -> Volume:
    """Give a volume the channels of a data set, by name and by number; see `fit_picture`.

    Args:
        volume: What was read.
        channels: What is expected.
        what: What it is, for the message.

    Raises:
        DatasetError: If it holds another number of channels.
    """
    fitted, wanted = fit_picture(volume, channels), len(channels)
    if fitted.array.shape[0] != wanted:
        raise DatasetError(
            f"Every image of this data set has {wanted} channels "
            f"({', '.join(channel.name for channel in channels)}).",
            received=f"{fitted.array.shape[0]} in {what}",
            cure="Leave the case out, or convert it to the same channels.",
        )
    return fitted


def fit_picture(volume: Volume, channels: tuple[Channel, ...]) -> Volume:
    """Give a volume the channels, if it has as many or is a picture that differs by habit only.

    Pictures are saved as grey or as RGB by habit: a grey one is repeated where the three channels
    of RGB are expected, and an RGB one with equal channels is reduced to the one channel.

    Returns:
        The volume with the names of the channels; as it was where their number still differs.
    """
    array, wanted = volume.array, len(channels)
    if array.shape[0] == 1 and wanted == 3 and {c.modality for c in channels} == {"RGB"}:
        array = np.repeat(array, 3, axis=0)
    elif array.shape[0] == 3 and wanted == 1 and bool((array[1:] == array[:1]).all()):
        array = array[:1]
    if array.shape[0] != wanted:
        return volume
    return Volume(array, volume.geometry, tuple(c.name for c in channels), volume.source)


def save_description(description: DatasetDescription, folder: Path) -> Path:
    """Write `medseg-dataset.json`; images stay where they are.

    Paths are relative to the folder where the files lie in or beside it, so that both may be moved
    together; else they are absolute.

    Returns:
        The file that was written.

    Raises:
        CannotWrite: If the folder cannot be written.
    """
    home = _absolute(folder)
    stored = _with_paths(description, lambda path: _shortest(path, home))
    path = folder / FILE_NAME
    write_text(path, stored.model_dump_json(indent=1) + "\n")
    return path


def load_description(path: Path) -> DatasetDescription:
    """Read a description from its file, or from the folder that holds it.

    Raises:
        MissingPath: If there is none.
        DatasetError: If the file is not a description.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise MissingPath(f"A described data set has a file {FILE_NAME}.", received=str(path))
    try:
        stored = DatasetDescription.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DatasetError(
            f"{file.name} must describe a data set.",
            received=f"{place}: {first['msg']}",
            cure="Import the data again: medseg dataset import RAW --out DIR.",
        ) from error
    home = _absolute(file.parent)
    return _with_paths(stored, lambda path: _absolute(home / path))


def _with_paths(
    description: DatasetDescription, change: Callable[[Path], Path]
) -> DatasetDescription:
    def changed(case: Case) -> Case:
        return case.model_copy(
            update={
                "images": tuple(change(path) for path in case.images),
                "label": change(case.label) if case.label else None,
            }
        )

    return description.model_copy(
        update={
            "cases": tuple(changed(case) for case in description.cases),
            "unlabelled": tuple(changed(case) for case in description.unlabelled),
        }
    )


def _absolute(path: Path) -> Path:
    """Absolute and without "..", symbolic links kept as they are."""
    return Path(os.path.normpath(path.absolute()))


def _shortest(path: Path, home: Path) -> Path:
    path = _absolute(path)
    beside = path.is_relative_to(home.parent) and home.parent != Path(home.anchor)
    return Path(os.path.relpath(path, home)) if beside or path.is_relative_to(home) else path


def _require(path: Path, case: Case) -> None:
    if not path.exists():
        raise MissingPath(
            f"Every file of case {case.id} must be there.",
            received=f"nothing at {path}",
            cure="Restore it, or leave the case out: medseg dataset check DATASET --skip-faulty.",
        )
