"""Layouts of one or two folders that are told by names: images/ and labels/, or all in one."""

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
from medseg.dataset.naming import (
    folders_with_images,
    image_files,
    label_base,
    longest_start,
    pair,
    visible,
)
from medseg.volume.io import is_dicom_file, stem_of

IMAGE_FOLDERS = ("images", "image", "imagestr", "imgs", "img", "inputs", "scans")
LABEL_FOLDERS = (
    "labels", "label", "labelstr", "masks", "mask", "segmentations", "segmentation",
    "annotations", "groundtruth", "gt",
)  # fmt: skip

_DEPTH = 4


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
            _pair_part(raw, images / part, labels / part, patient=patient_of(Path(part).parts))
    make_ids_unique(raw.cases)
    return raw


def _image_and_label_folder(home: Path) -> tuple[Path, Path] | None:
    by_name = {path.name.lower(): path for path in visible(home) if path.is_dir()}
    images = next((by_name[name] for name in IMAGE_FOLDERS if name in by_name), None)
    labels = next((by_name[name] for name in LABEL_FOLDERS if name in by_name), None)
    return (images, labels) if images and labels else None


def find_flat(root: Path) -> RawDataset | None:
    """One folder: `X_0000_flair.nii.gz` beside `X_seg.nii.gz`, `X.tif` beside `X_mask.tif`."""
    files = image_files(root)
    groups, rest = by_label_word(files)
    if not groups:
        return None
    raw = RawDataset(root, [])
    for base, group in groups.items():
        require_one_label(base or root.name, group, root)
        images = group.images or {"": root / f"{base}{suffix_of(group.labels[0])}"}
        raw.cases.append(RawCase(base or root.name, images, group.labels[0]))
    raw.cases.extend(unlabelled_cases(rest, {n for c in raw.cases for n in c.images}, root.name))
    return raw


def _parts(folder: Path) -> list[str]:
    """Folders below that hold images, "" for the folder itself."""
    found = [path for path, _ in folders_with_images(folder, depth=_DEPTH - 1)]
    return [str(path.relative_to(folder)) if path != folder else "" for path in found]


def _pair_part(raw: RawDataset, images: Path, labels: Path, *, patient: str | None) -> None:
    image_paths = [*image_files(images), *_dicom_folders(images)] if images.is_dir() else []
    label_paths = image_files(labels) if labels.is_dir() else []
    groups, rest = pair(image_paths, _label_bases(label_paths, {stem_of(p) for p in image_paths}))
    suffix = suffix_of(image_paths[0] if image_paths else label_paths[0])
    for base, group in groups.items():
        require_one_label(base, group, labels)
        found = group.images or {"": images / f"{base}{suffix}"}
        raw.cases.append(RawCase(base, found, group.labels[0], patient))
    known = {name for case in raw.cases for name in case.images}
    for case in unlabelled_cases(rest, known, images.name):
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
