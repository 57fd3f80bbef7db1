"""What the layouts share: files become cases, cases get ids, several masks of one are refused."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medseg.dataset.assemble import RawCase
from medseg.dataset.naming import (
    SEPARATORS,
    Group,
    channel_suffix,
    image_base,
    label_base,
    modality_of,
    pair,
)
from medseg.errors import DatasetError, MedsegError
from medseg.types import Mask
from medseg.volume.io import read_label_map, stem_of

_GROUPS = (
    "train", "training", "val", "valid", "validation", "test", "testing", "hgg", "lgg", "benign",
    "malignant", "normal", "abnormal", "positive", "negative", "covid", "healthy", "nifti",
)  # fmt: skip


def patient_of(parts: tuple[str, ...]) -> str | None:
    """The first of these folders that is no group."""
    return next((part for part in parts if part.lower() not in _GROUPS), None)


def by_label_word(files: list[Path]) -> tuple[dict[str, Group], dict[str, Path]]:
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
    whole = _modalities_of_one(groups, rest)
    return ({"": whole}, {}) if whole else (groups, rest)


def _modalities_of_one(groups: dict[str, Group], rest: dict[str, Path]) -> Group | None:
    """One case of several channels: CT, MR and PET of a patient, of which one has the mask."""
    if len(groups) != 1 or not rest:
        return None
    base, group = next(iter(groups.items()))
    named = {image_base(stem): path for stem, path in rest.items()}
    modalities = {modality_of(name) for name in (base, *named)}
    if set(group.images) != {""} or "" in modalities or len(modalities) <= len(named):
        return None
    images = {base: group.images[""], **named}
    return Group(group.labels, dict(sorted(images.items())))


def unlabelled_cases(rest: dict[str, Path], known: Iterable[str], home: str) -> list[RawCase]:
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


def make_ids_unique(cases: list[RawCase]) -> None:
    """Put the patient, or else the part of the data set, before names that occur twice."""
    count = Counter(case.id for case in cases)
    for case in cases:
        if count[case.id] > 1:
            part = case.patient or next(iter(case.images.values())).parent.parent.name
            case.id = f"{part}_{case.id}".replace("/", "_")


def suffix_of(path: Path) -> str:
    """What makes a name that of an image: ".nii.gz"."""
    return path.name[len(stem_of(path)) :]


def require_one_label(case_id: str, group: Group, folder: Path) -> None:
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
