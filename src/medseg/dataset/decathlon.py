"""Layouts with a `dataset.json`: the Medical Segmentation Decathlon's and nnU-Net's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.naming import channel, channel_suffix, image_files
from medseg.dataset.values import value_names
from medseg.errors import DatasetError
from medseg.volume.io import stem_of
from medseg.volume.labels import Label, Labels, make_labels
from medseg.volume.regions import IGNORED_NAME, PaintedRegion, Regions


def find_decathlon(root: Path) -> DatasetDescription | None:
    """MSD: `dataset.json` lists the training cases; `imagesTs` holds images without a label."""
    table = _table(root)
    if table is None or "training" not in table or "channel_names" in table:
        return None
    channels = _channels(table, "modality")
    listed_cases = [_listed(root, *_entry(entry), channels) for entry in table["training"]]
    cases = [case for case in listed_cases if case.label]
    known = {case.id for case in cases}
    tests = [case for case in listed_cases if not case.label]
    tests += [_listed(root, _entry(entry)[0], None, channels) for entry in table.get("test", ())]
    listed = {path for case in tests for path in case.images}
    for path in _images_in(root / "imagesTs"):
        if path not in listed and channel_suffix(stem_of(path)) is None:
            tests.append(Case(id=stem_of(path), images=(path,)))
    return DatasetDescription(
        name=str(table.get("name") or root.name),
        channels=channels,
        labels=labels_in(table),
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        unlabelled=tuple(sorted((c for c in tests if c.id not in known), key=lambda c: c.id)),
        ignored_value=ignored_in(table),
        licence=_licence(table),
    )


def find_nnunet(root: Path) -> DatasetDescription | None:
    """nnU-Net raw: `channel_names`, `file_ending`, and images named `CASE_0000`.

    What nnU-Net has no words for stands in a table "medseg", where medseg wrote the file.
    """
    table = _table(root)
    if table is None or "channel_names" not in table:
        return None
    more = table.get("medseg") or {}
    named = more.get("channels")
    channels = (
        tuple(Channel(**one) for one in named) if named else _channels(table, "channel_names")
    )
    ending = str(table.get("file_ending") or ".nii.gz")
    cases = _listed_by_case(root, table) or _cases_in(root, "imagesTr", channels, ending)
    labels, regions = labels_in(table), regions_in(table)
    names = {value: name for name, value in more.get("labels", {}).items()}
    labels = tuple(Label(value=x.value, name=names.get(x.value, x.name)) for x in labels)
    notes: tuple[str, ...] = ()
    if _unions(table) and not regions:
        notes = (
            "Without regions_class_order each value is a structure of its own, and no region.",
        )
    return DatasetDescription(
        name=str(table.get("name") or root.name),
        channels=channels,
        labels=labels,
        cases=tuple(cases),
        unlabelled=tuple(_cases_in(root, "imagesTs", channels, ending)),
        regions=regions,
        ignored_value=ignored_in(table),
        licence=_licence(table),
        notes=notes,
    )


def _table(root: Path) -> dict[str, Any] | None:
    """The content of `dataset.json`; None without such a file."""
    path = root / "dataset.json"
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DatasetError(
            "A dataset.json is JSON text.",
            received=f"{path}: {error}",
            cure="Repair the file, or remove it to import the images by their names.",
        ) from error
    if not isinstance(table, dict):
        raise DatasetError(
            "A dataset.json is a table.", received=f"{path}: a {type(table).__name__}"
        )
    return table


def _entry(entry: object) -> tuple[str, str | None]:
    """Image and label of one entry of MSD's lists: a table, or the image alone."""
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, dict) and isinstance(entry.get("image"), str):
        return entry["image"], entry.get("label")
    raise DatasetError(
        "Each training case of a dataset.json has an image and a label.", received=repr(entry)
    )


def _listed(root: Path, image: str, label: str | None, channels: tuple[Channel, ...]) -> Case:
    """A case of MSD's list; the files may also be named as nnU-Net does, one for each channel."""
    path = root / image
    stem, suffix = stem_of(path), path.name[len(stem_of(path)) :]
    images: tuple[Path, ...] = (path,)
    if not path.exists() and (path.parent / f"{stem}_0000{suffix}").exists():
        images = tuple(path.parent / f"{stem}_{n:04d}{suffix}" for n in range(len(channels)))
    return Case(id=stem, images=images, label=root / label if label else None)


def _listed_by_case(root: Path, table: dict[str, Any]) -> list[Case]:
    """Cases of nnU-Net's optional `dataset` table."""
    return [
        Case(
            id=case_id,
            images=tuple(root / image for image in entry["images"]),
            label=root / entry["label"],
        )
        for case_id, entry in sorted(table.get("dataset", {}).items())
    ]


def _cases_in(root: Path, folder: str, channels: tuple[Channel, ...], ending: str) -> list[Case]:
    """Cases of `imagesTr` with their labels, or those of `imagesTs`, by the endings of names.

    A label without an image makes a case too, so that a check finds the missing image.
    """
    training = folder == "imagesTr"
    names = {
        path.name.removesuffix(ending)
        for path in _images_in(root / folder)
        if path.name.endswith(ending)
    }
    ids = {found[0] for name in names if (found := channel_suffix(name))}
    labels = {
        path.name.removesuffix(ending): path
        for path in _images_in(root / "labelsTr")
        if training and path.name.endswith(ending)
    }
    return [
        Case(
            id=case_id,
            images=tuple(
                root / folder / f"{case_id}_{n:04d}{ending}" for n in range(len(channels))
            ),
            label=labels.get(case_id, root / "labelsTr" / f"{case_id}{ending}")
            if training
            else None,
        )
        for case_id in sorted(ids | set(labels))
    ]


def _images_in(folder: Path) -> list[Path]:
    return image_files(folder) if folder.is_dir() else []


def _channels(table: dict[str, Any], key: str) -> tuple[Channel, ...]:
    entries = table.get(key)
    if not isinstance(entries, dict) or not entries:
        raise DatasetError(
            f"A dataset.json names its channels under {key!r}.", received=repr(entries)
        )
    named = [str(entries[number]) for number in sorted(entries, key=int)]
    if len(set(named)) < len(named):
        named = [f"{name}_{n}" for n, name in enumerate(named)]
    return tuple(channel(name) for name in named)


def labels_in(table: Mapping[str, Any]) -> Labels:
    """Structures of a dataset.json by value, background and ignored voxels left out.

    Regions become their values.

    Raises:
        DatasetError: If it names no labels, or not by whole numbers.
    """
    entries = _entries(table)
    single = {name: value for name, value in entries.items() if not isinstance(value, list)}
    try:
        names = value_names(single)
        for value in sorted({int(value) for union in _unions(table) for value in union}):
            names.setdefault(value, f"label_{value}")
        ignored = ignored_in(table)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            "Labels of a dataset.json have whole numbers.", received=repr(entries)
        ) from error
    structures = {value: name for value, name in names.items() if value not in (0, ignored)}
    if ignored is not None and ignored <= max(structures, default=0):
        raise DatasetError(
            "The value of ignored voxels is higher than that of every structure.",
            received=f"'ignore': {ignored} beside {max(structures)}",
            cure="Give the ignored voxels the highest value, in dataset.json and in the files.",
        )
    return make_labels(Label(value=v, name=name) for v, name in structures.items())


def _entries(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataset.json calls labels."""
    entries = table.get("labels")
    if not isinstance(entries, dict) or len(entries) < 2:
        raise DatasetError("A dataset.json names its labels.", received=repr(entries))
    return entries


def _unions(table: Mapping[str, Any]) -> list[list[Any]]:
    """Lists of values, which nnU-Net has for regions."""
    return [value for value in _entries(table).values() if isinstance(value, list)]


def ignored_in(table: Mapping[str, Any]) -> int | None:
    """The value of voxels that do not count, of a dataset.json; None where all do."""
    value = _entries(table).get(IGNORED_NAME)
    return None if value is None else int(str(value))


def regions_in(table: Mapping[str, Any]) -> Regions:
    """nnU-Net's regions in the order they are painted; none where it does not say in which order.

    A structure of one value among them is a region too.

    Raises:
        DatasetError: If the order has not one value for each region.
    """
    order = table.get("regions_class_order")
    if order is None or not _unions(table):
        return ()
    named = {
        name: tuple(int(v) for v in (value if isinstance(value, list) else [value]))
        for name, value in _entries(table).items()
        if name != IGNORED_NAME and value not in (0, "0", [0])
    }
    if not isinstance(order, list) or [type(x) for x in order] != [int] * len(named):
        raise DatasetError(
            "regions_class_order of a dataset.json has one value for each region.",
            received=f"{order!r} for {', '.join(named)}",
            cure="Give each region the value that its voxels have in a mask, in the same order.",
        )
    return tuple(
        PaintedRegion(name=name, values=values, painted=int(painted))
        for (name, values), painted in zip(named.items(), order, strict=True)
    )


def _licence(table: dict[str, Any]) -> str:
    return str(table.get("licence") or table.get("license") or "")
