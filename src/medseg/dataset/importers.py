"""Any folder becomes a described data set, or an error says what layouts are known."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from medseg.dataset.assemble import RawDataset, assemble, patients_beside
from medseg.dataset.bids import find_bids
from medseg.dataset.decathlon import find_decathlon, find_nnunet
from medseg.dataset.description import FILE_NAME, Case, DatasetDescription, load_description
from medseg.dataset.layouts import find_flat, find_folder_pair
from medseg.dataset.naming import counted, visible
from medseg.dataset.patients import find_patient_folders
from medseg.errors import DatasetError, MissingPath
from medseg.progress import SILENT, Progress

_LISTED: tuple[Callable[[Path], DatasetDescription | None], ...] = (find_decathlon, find_nnunet)
_NAMED: tuple[Callable[[Path], RawDataset | None], ...] = (
    find_folder_pair,
    find_bids,
    find_flat,
    find_patient_folders,
)

_KNOWN = (
    f"a folder with {FILE_NAME}; dataset.json of the Medical Segmentation Decathlon or of nnU-Net; "
    "images/ beside labels/ or masks/ with equal names; X.nii.gz beside X_seg.nii.gz; "
    "a folder for each patient with such files; BIDS names (sub-01_T1w beside sub-01_dseg); DICOM "
    "series with a DICOM-SEG or RTSTRUCT each, once `medseg dataset import` wrote their labels"
)


def open_dataset(path: Path, *, progress: Progress = SILENT) -> DatasetDescription:
    """Describe a data set of any known layout; a described one is read as it was written.

    Hidden files and what systems leave behind (`.DS_Store`, `._name`) are passed over.

    Args:
        path: A folder, or the `medseg-dataset.json` or `dataset.json` in it.
        progress: Told while label values are read, where no list of labels says them.

    Raises:
        MissingPath: If nothing is there.
        DatasetError: If the folder is in no known layout, or its files contradict each other.
    """
    if not path.exists():
        raise MissingPath("A data set is a folder.", received=f"nothing at {path}")
    if path.is_file() and path.name != "dataset.json":
        return load_description(path)
    root = _entrance(Path(os.path.normpath((path.parent if path.is_file() else path).absolute())))
    if (root / FILE_NAME).is_file() and not path.is_file():
        return load_description(root)
    for find_listed in _LISTED:
        with _sound_table(root):
            described = find_listed(root)
        if described is not None:
            return _with_patients(_filled(described, root), root)
    for find_named in _NAMED:
        raw = find_named(root)
        if raw is not None:
            return assemble(raw, progress=progress)
    raise DatasetError(
        f"{root} is no data set in a known layout.",
        received=_seen(root),
        cure=f"Known are: {_KNOWN}.",
    )


@contextlib.contextmanager
def _sound_table(root: Path) -> Iterator[None]:
    """Turn whatever a dataset.json of another form leads to into one sentence."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else repr(error)
        raise DatasetError(
            "A dataset.json has the form of the Medical Segmentation Decathlon or of nnU-Net.",
            received=f"{root / 'dataset.json'}: {what}",
            cure="Repair the file, or remove it to import the images by their names.",
        ) from error


def _with_patients(described: DatasetDescription, root: Path) -> DatasetDescription:
    patients = patients_beside(root)

    def known(cases: tuple[Case, ...]) -> tuple[Case, ...]:
        return tuple(case.model_copy(update={"patient": patients.get(case.id)}) for case in cases)

    update = {"cases": known(described.cases), "unlabelled": known(described.unlabelled)}
    return described.model_copy(update=update) if patients else described


def _entrance(folder: Path) -> Path:
    """The folder itself; or, where it holds one folder alone (an unpacked archive), that one."""
    inside = visible(folder)
    if len(inside) == 1 and inside[0].is_dir() and (inside[0] / "dataset.json").is_file():
        return inside[0]
    return folder


def _filled(described: DatasetDescription, root: Path) -> DatasetDescription:
    if not described.cases:
        raise DatasetError(
            "A data set has at least one case with a label.",
            received=f"none in {root}",
            cure="Check that imagesTr and labelsTr hold files with the ending of dataset.json.",
        )
    return described


def _seen(root: Path) -> str:
    """What a folder holds, in a few words."""
    inside = visible(root)
    if not inside:
        return "an empty folder"
    folders = [path.name for path in inside if path.is_dir()]
    kinds = Counter("".join(p.suffixes[-2:]) or "without a suffix" for p in inside if p.is_file())
    parts = []
    if folders:
        shown = ", ".join(folders[:4]) + ", ..." * (len(folders) > 4)
        parts.append(f"{counted(len(folders), 'folder')} ({shown})")
    parts += [f"{counted(number, 'file')} {kind}" for kind, number in kinds.most_common(4)]
    return ", ".join(parts) + ", and no label file among them"
