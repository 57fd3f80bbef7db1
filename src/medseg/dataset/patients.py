"""A folder for each patient, with one case in it or several."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from medseg.dataset.assemble import RawCase, RawDataset
from medseg.dataset.grouping import (
    by_label_word,
    make_ids_unique,
    patient_of,
    require_one_label,
    suffix_of,
    unlabelled_cases,
)
from medseg.dataset.naming import Group, folders_with_images, modality_of

_DEPTH = 4
_MANY = 5


def find_patient_folders(root: Path) -> RawDataset | None:
    """A folder for each patient, with one case in it or several."""
    folders = {
        folder: by_label_word(files)
        for folder, files in folders_with_images(root, depth=_DEPTH)
        if folder != root
    }
    if not any(groups for groups, _ in folders.values()):
        return None
    raw, patients = RawDataset(root, []), _patients(folders)
    if _bases_are_channels([set(groups) for groups, _ in folders.values() if groups]):
        _add_own_masks(raw, {folder: groups for folder, (groups, _) in folders.items()})
        return raw
    for folder, (groups, _) in folders.items():
        for base, group in groups.items():
            case_id = base if base and len(groups) > 1 else folder.name
            require_one_label(case_id, group, folder)
            images = group.images or {"": folder / f"{base}_image{suffix_of(group.labels[0])}"}
            raw.cases.append(RawCase(case_id, images, group.labels[0], patients[folder]))
    known = {name for case in raw.cases for name in case.images}
    for folder, (groups, rest) in folders.items():
        unlabelled = unlabelled_cases(rest, known, folder.name)
        for case in unlabelled:
            alone = len(unlabelled) == 1 and not groups
            case.id = folder.name if alone else case.id
            case.patient = patients[folder]
            raw.cases.append(case)
    make_ids_unique(raw.cases)
    return raw


def _patients(folders: Iterable[Path]) -> dict[Path, str | None]:
    """Folder -> patient: the first folder below the one that all share, groups passed over.

    Folders are groups and not patients where their names say so ("HGG", "train"), or where less
    than five of them hold five or more folders each whose names never repeat.
    """
    above = Path(os.path.commonpath([folder.parent for folder in folders]))
    parts = {folder: folder.relative_to(above).parts for folder in folders}
    tops = {names[0] for names in parts.values()}
    below = [names[1] for names in parts.values() if len(names) > 1]
    many = len(below) == len(set(below)) >= _MANY * len(tops) and len(tops) < _MANY
    if many:
        parts = {folder: names[1:] for folder, names in parts.items()}
    return {folder: patient_of(names) for folder, names in parts.items()}


def _bases_are_channels(bases: list[set[str]]) -> bool:
    """Whether each image of a patient has its own mask: the same names in patient after patient.

    One folder alone tells by its names: CT, MR_T1 and PET are no cases.
    """
    if all(len(found) < 2 for found in bases):
        return False
    if len(bases) == 1:
        return all(modality_of(base) for base in bases[0])
    count = Counter(base for found in bases for base in found)
    return all(2 * number > len(bases) for number in count.values())


def _add_own_masks(raw: RawDataset, folders: dict[Path, dict[str, Group]]) -> None:
    """Cases whose channels have a mask each: that of the first channel is the label."""
    names = sorted({base for groups in folders.values() for base in groups})
    patients = _patients(folders)
    for folder, groups in folders.items():
        images = {name: groups[name].images[""] for name in names if "" in groups[name].images}
        label = next((groups[name].labels[0] for name in names if groups[name].labels), None)
        raw.cases.append(RawCase(folder.name, images, label, patients[folder]))
    raw.notes.append(
        f"Each channel has a mask of its own: that of {names[0]} is the label, "
        f"those of {', '.join(names[1:])} are left out."
    )
