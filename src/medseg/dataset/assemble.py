"""From the files that a layout found to a description: channels, labels and patients decided."""

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.naming import channel, counted, visible
from medseg.dataset.values import find_meaning, names_beside
from medseg.errors import DatasetError, MedsegError
from medseg.progress import SILENT, Progress
from medseg.volume.io import read_volume, stem_of

_NUMBER_FIRST = re.compile(r"^(\d{4})(?:_(.+))?$")
_PATIENT_COLUMNS = ("patientid", "patient", "subject", "subjectid", "participantid")
_FILE_COLUMNS = ("filename", "file", "image", "case", "caseid", "imageid", "id")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass
class RawCase:
    """The files of one case, as their names told.

    Attributes:
        id: Unique in the data set.
        images: Channel name (or "") -> file.
        label: Label file, or None.
        patient: Patient key, where the layout has one.
    """

    id: str
    images: dict[str, Path]
    label: Path | None = None
    patient: str | None = None


@dataclass
class RawDataset:
    """What a layout found.

    Attributes:
        root: The folder.
        cases: Cases with and without a label.
        notes: What was decided on the way.
    """

    root: Path
    cases: list[RawCase]
    notes: list[str] = field(default_factory=list)


def assemble(raw: RawDataset, *, progress: Progress = SILENT) -> DatasetDescription:
    """Decide channels, labels and patients, and describe the data set.

    Raises:
        DatasetError: If nothing is labelled, or labels and images contradict each other.
        MedsegError: If the first image, or every label file, cannot be read.
    """
    labelled = sorted((case for case in raw.cases if case.label), key=lambda case: case.id)
    if not labelled:
        raise DatasetError("A data set has at least one label file.", received=str(raw.root))
    if not any(path.exists() for case in labelled for path in case.images.values()):
        label = labelled[0].label
        raise DatasetError(
            "Images and labels of a data set have equal names.",
            received=f"{counted(len(labelled), 'label file')}, such as {label and label.name}, "
            f"and no image to one of them in {raw.root}",
            cure="Name them alike: images/X.png and labels/X.png, or X.nii.gz and X_seg.nii.gz.",
        )
    names = _channel_names(labelled, raw.notes)
    patients = patients_beside(raw.root)
    meaning = find_meaning(
        [case.label for case in labelled if case.label], names_beside(raw.root), progress=progress
    )
    unlabelled = sorted((case for case in raw.cases if not case.label), key=lambda case: case.id)
    if unlabelled:
        raw.notes.append(f"{counted(len(unlabelled), 'image')} without a label: not trained on.")
    return DatasetDescription(
        name=raw.root.name,
        channels=_channels(labelled, names),
        labels=meaning.labels,
        cases=tuple(_case(case, names, patients) for case in labelled),
        unlabelled=tuple(_case(case, names, patients) for case in unlabelled),
        instances=meaning.instances,
        notes=(*raw.notes, *meaning.notes),
    )


def missing_beside(path: Path, old: str, new: str) -> Path:
    """Where a file should be that has `new` in its name where `path` has `old`."""
    head, found, tail = path.name.rpartition(old)
    return path.with_name(f"{head}{new}{tail}" if old and found else f"{new}_{path.name}")


def _channel_names(cases: list[RawCase], notes: list[str]) -> list[str]:
    """Channels that at least half of the cases have, in order."""
    count = Counter(name for case in cases for name in case.images)
    names = sorted(name for name, number in count.items() if 2 * number >= len(cases))
    rare = sorted(set(count) - set(names))
    if not names:
        raise DatasetError(
            "The cases of a data set have the same channels.",
            received=f"none of {', '.join(rare[:8])} in half of the {len(cases)} cases",
            cure="Name the files of a channel alike in all cases: X_0000.nii.gz, X_0001.nii.gz.",
        )
    if rare:
        notes.append(f"Left out, as few cases have them: {', '.join(rare[:8])}.")
    return names


def _channels(cases: list[RawCase], names: list[str]) -> tuple[Channel, ...]:
    """The channels by their files; or of the first image that can be read, if it holds them all."""
    if len(names) > 1:
        return tuple(channel(_readable(name, n)) for n, name in enumerate(names))
    files = [case.images[names[0]] for case in cases if names[0] in case.images]
    count = _channels_inside(files)
    if count == 1:
        return (channel(_readable(names[0], 0)),)
    if count == 3 and files[0].suffix.lower() in _PICTURES:
        return tuple(channel(name) for name in ("red", "green", "blue"))
    return tuple(Channel(name=f"channel_{n}") for n in range(count))


def _channels_inside(files: list[Path]) -> int:
    """Most channels in one file: of pictures, grey and RGB may be mixed."""
    there = [path for path in files if path.exists()]
    if not there or there[0].is_dir():
        return 1
    count = _first_readable(there)
    if count == 1 and any(_is_colour(path) for path in there):
        return 3
    return count


def _first_readable(files: list[Path]) -> int:
    """Channels of the first file that can be read; `check` lists those that cannot.

    Raises:
        MedsegError: That of the first file, if none can be read.
    """
    errors = []
    for path in files:
        try:
            return int(read_volume(path).array.shape[0])
        except MedsegError as error:
            errors.append(error)
    raise errors[0]


def _is_colour(path: Path) -> bool:
    """Whether the header of a PNG, JPEG or BMP says that it is in colour."""
    from PIL import Image

    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".bmp"):
        return False
    try:
        with Image.open(path) as picture:
            return picture.mode in ("RGB", "RGBA", "P", "CMYK", "YCbCr")
    except OSError:
        return False


def _readable(name: str, n: int) -> str:
    """A name for people: t1c for "0001_t1c"; a bare number or nothing gets one of its own."""
    found = _NUMBER_FIRST.match(name)
    if found:
        return found[2] or f"channel_{n}"
    return name or "image"


def _case(case: RawCase, names: list[str], patients: dict[str, str]) -> Case:
    """A case with a file for each channel, also where that file is missing (`check` says so)."""
    any_name, any_path = next(iter(case.images.items()))
    images = tuple(
        case.images.get(name) or missing_beside(any_path, any_name, name) for name in names
    )
    patient = case.patient or patients.get(case.id) or patients.get(stem_of(any_path))
    return Case(id=case.id, images=images, label=case.label, patient=patient)


def patients_beside(root: Path) -> dict[str, str]:
    """Case -> patient, from a table in the folder with a column of files and one of patients."""
    tables = [path for path in visible(root) if path.suffix.lower() in (".csv", ".tsv")]
    return next((found for path in tables if (found := _patients_in(path))), {})


def _patients_in(table: Path) -> dict[str, str]:
    delimiter = "\t" if table.suffix.lower() == ".tsv" else ","
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        try:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
        except csv.Error:
            return {}
    columns = {re.sub(r"[^a-z]", "", str(name).lower()): name for name in (rows[:1] or [{}])[0]}
    who = next((columns[word] for word in _PATIENT_COLUMNS if word in columns), None)
    what = next((columns[word] for word in _FILE_COLUMNS if word in columns), None)
    if not who or not what:
        return {}
    return {stem_of(Path(row[what])): row[who] for row in rows if row[what] and row[who]}
