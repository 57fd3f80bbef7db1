"""Layouts that are told by names alone: image and label folders, flat folders, patient folders."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medseg.dataset.assemble import RawCase, RawDataset
from medseg.dataset.naming import (
    SEPARATORS,
    Group,
    channel_suffix,
    folders_with_images,
    image_base,
    image_files,
    label_base,
    longest_start,
    modality_of,
    pair,
    visible,
)
from medseg.errors import DatasetError, MedsegError
from medseg.types import Mask
from medseg.volume.io import is_dicom_file, read_label_map, stem_of

IMAGE_FOLDERS = ("images", "image", "imagestr", "imgs", "img", "inputs", "scans")
LABEL_FOLDERS = (
    "labels", "label", "labelstr", "masks", "mask", "segmentations", "segmentation",
    "annotations", "groundtruth", "gt",
)  # fmt: skip

_GROUPS = (
    "train", "training", "val", "valid", "validation", "test", "testing", "hgg", "lgg", "benign",
    "malignant", "normal", "abnormal", "positive", "negative", "covid", "healthy", "nifti",
)  # fmt: skip
_DEPTH = 4
_MANY = 5


def find_folder_pair(root: Path) -> RawDataset | None:
    """`images/` and `labels/` (or `masks/`), whose files have equal names but for suffixes.

    They may lie one folder deeper, as in `train/images`; such parts are taken together.
    """
    homes = [root, *(path for path in visible(root) if path.is_dir())]
    pairs = {home: found for home in homes if (found := _image_and_label_folder(home))}
    if root in pairs:
        pairs = {root: pairs[root]}
    if not pairs:
        return None
    raw = RawDataset(root, [])
    if root not in pairs:
        names = ", ".join(home.name for home in pairs)
        raw.notes.append(f"Taken together: {names}. Folds are drawn anew.")
    for images, labels in pairs.values():
        for part in sorted({*_parts(images), *_parts(labels)}):
            _pair_part(raw, images / part, labels / part, patient=_patient(Path(part).parts))
    _make_ids_unique(raw.cases)
    return raw


def _image_and_label_folder(home: Path) -> tuple[Path, Path] | None:
    by_name = {path.name.lower(): path for path in visible(home) if path.is_dir()}
    images = next((by_name[name] for name in IMAGE_FOLDERS if name in by_name), None)
    labels = next((by_name[name] for name in LABEL_FOLDERS if name in by_name), None)
    return (images, labels) if images and labels else None


def find_flat(root: Path) -> RawDataset | None:
    """One folder: `X_0000_flair.nii.gz` beside `X_seg.nii.gz`, `X.tif` beside `X_mask.tif`."""
    files = image_files(root)
    groups, rest = _by_label_word(files)
    if not groups:
        return None
    raw = RawDataset(root, [])
    for base, group in groups.items():
        _require_one_label(base or root.name, group, root)
        images = group.images or {"": root / f"{base}{_suffix(group.labels[0])}"}
        raw.cases.append(RawCase(base or root.name, images, group.labels[0]))
    raw.cases.extend(_unlabelled(rest, {n for c in raw.cases for n in c.images}, root.name))
    return raw


def find_patient_folders(root: Path) -> RawDataset | None:
    """A folder for each patient, with one case in it or several."""
    folders = {
        folder: _by_label_word(files)
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
            _require_one_label(case_id, group, folder)
            images = group.images or {"": folder / f"{base}_image{_suffix(group.labels[0])}"}
            raw.cases.append(RawCase(case_id, images, group.labels[0], patients[folder]))
    known = {name for case in raw.cases for name in case.images}
    for folder, (groups, rest) in folders.items():
        unlabelled = _unlabelled(rest, known, folder.name)
        for case in unlabelled:
            alone = len(unlabelled) == 1 and not groups
            case.id = folder.name if alone else case.id
            case.patient = patients[folder]
            raw.cases.append(case)
    _make_ids_unique(raw.cases)
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
    return {folder: _patient(names) for folder, names in parts.items()}


def _patient(parts: tuple[str, ...]) -> str | None:
    """The first of these folders that is no group."""
    return next((part for part in parts if part.lower() not in _GROUPS), None)


def _parts(folder: Path) -> list[str]:
    """Folders below that hold images, "" for the folder itself."""
    found = [path for path, _ in folders_with_images(folder, depth=_DEPTH - 1)]
    return [str(path.relative_to(folder)) if path != folder else "" for path in found]


def _pair_part(raw: RawDataset, images: Path, labels: Path, *, patient: str | None) -> None:
    image_paths = [*image_files(images), *_dicom_folders(images)] if images.is_dir() else []
    label_paths = image_files(labels) if labels.is_dir() else []
    groups, rest = pair(image_paths, _label_bases(label_paths, {stem_of(p) for p in image_paths}))
    suffix = _suffix(image_paths[0] if image_paths else label_paths[0])
    for base, group in groups.items():
        _require_one_label(base, group, labels)
        found = group.images or {"": images / f"{base}{suffix}"}
        raw.cases.append(RawCase(base, found, group.labels[0], patient))
    known = {name for case in raw.cases for name in case.images}
    for case in _unlabelled(rest, known, images.name):
        case.patient = patient
        raw.cases.append(case)


def _dicom_folders(folder: Path) -> list[Path]:
    """Folders below that hold a DICOM series each."""
    folders = [path for path in visible(folder) if path.is_dir() and not image_files(path)]
    return [path for path in folders if any(map(is_dicom_file, visible(path)[:1]))]


def _label_bases(labels: list[Path], image_stems: set[str]) -> dict[str, list[Path]]:
    """Base -> label files of a label folder.

    The base is the stem itself where an image has it; else what stands before "_mask"; else the
    longest image stem that it continues ("7__left_lung" belongs to image "7").
    """
    bases: dict[str, list[Path]] = {}
    for path in labels:
        stem = stem_of(path)
        before = label_base(stem)
        if stem not in image_stems and before and before in image_stems:
            stem = before
        elif stem not in image_stems:
            stem = longest_start(stem, image_stems) or before or stem
        bases.setdefault(stem, []).append(path)
    return bases


def _by_label_word(files: list[Path]) -> tuple[dict[str, Group], dict[str, Path]]:
    """Groups of a folder whose labels are told by a word in their names."""
    bases: dict[str, list[Path]] = {}
    images = []
    for path in files:
        base = label_base(stem_of(path))
        if base is None:
            images.append(path)
        else:
            bases.setdefault(image_base(base), []).append(path)
    groups, rest = pair(images, bases)
    if len(groups) == 1 and len(rest) == len(images):
        return pair(images, {"": next(iter(bases.values()))})
    return groups, rest


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


def _unlabelled(rest: dict[str, Path], known: Iterable[str], home: str) -> list[RawCase]:
    """Images without a label, channels put together by the endings that labelled cases have.

    Args:
        rest: Stem -> image.
        known: Channel names of labelled cases.
        home: The id of a case whose files are named by their channels alone.
    """
    endings = sorted((name for name in known if name), key=len, reverse=True)
    cases: dict[str, RawCase] = {}
    for stem, path in rest.items():
        ending = next((name for name in endings if _ends(stem, name)), "")
        base = stem.removesuffix(ending).rstrip(SEPARATORS)
        if not ending and endings and (numbered := channel_suffix(stem)):
            base, ending = numbered[0], stem[len(numbered[0]) + 1 :]
        case = cases.setdefault(base or home, RawCase(base or home, {}))
        case.images[ending] = path
    return list(cases.values())


def _ends(stem: str, ending: str) -> bool:
    return stem == ending or (stem.endswith(ending) and stem[-len(ending) - 1] in SEPARATORS)


def _make_ids_unique(cases: list[RawCase]) -> None:
    """Put the patient, or else the part of the data set, before names that occur twice."""
    count = Counter(case.id for case in cases)
    for case in cases:
        if count[case.id] > 1:
            part = case.patient or next(iter(case.images.values())).parent.parent.name
            case.id = f"{part}_{case.id}".replace("/", "_")


def _suffix(path: Path) -> str:
    return path.name[len(stem_of(path)) :]


def _require_one_label(case_id: str, group: Group, folder: Path) -> None:
    """Refuse several label files of one image, and say whether they overlap."""
    if len(group.labels) == 1:
        return
    names = ", ".join(path.name for path in group.labels[:4])
    more = f" and {len(group.labels) - 4} more" if len(group.labels) > 4 else ""
    overlap = _overlap(case_id, group.labels)
    if overlap:
        raise DatasetError(
            "A label map gives each voxel one structure, so overlapping masks cannot become one.",
            received=f"in {folder.name}, {len(group.labels)} masks of {case_id}: {overlap}",
            cure="Keep the masks that do not overlap in one label file for each image, or make "
            "a data set of each overlapping structure.",
        )
    raise DatasetError(
        "A case has one label file, with a value for each structure.",
        received=f"{len(group.labels)} for case {case_id}: {names}{more}",
        cure="Join them into one file, or keep one.",
    )


def _overlap(base: str, paths: list[Path]) -> str:
    """Which masks of one case share voxels, in words; "" if none do or grids differ."""
    masks: dict[str, Mask] = {}
    for path in paths:
        try:
            masks[stem_of(path).removeprefix(base).strip(SEPARATORS)] = np.asarray(
                read_label_map(path).array > 0
            )
        except MedsegError:
            continue
    shared = []
    for n, (first, one) in enumerate(masks.items()):
        for second, other in list(masks.items())[n + 1 :]:
            voxels = int((one & other).sum()) if one.shape == other.shape else 0
            if voxels:
                shared.append(f"{first} and {second} share {voxels} voxels")
    more = f" (and {len(shared) - 3} more pairs)" if len(shared) > 3 else ""
    return "; ".join(shared[:3]) + more
