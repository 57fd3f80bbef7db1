"""What file names say: which file is a label, which channel an image is, whose it is."""

import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medseg.dataset.description import Channel
from medseg.errors import DatasetError
from medseg.volume.io import is_image_file, stem_of

_LABEL_WORD = re.compile(
    r"(?:^|[_\-. ])(?:d?seg|segmentations?|masks?|labels?|gt|ground_?truth|annotations?)"
    r"(?=$|[_\-. ])",
    re.IGNORECASE,
)
_IMAGE_WORD = re.compile(
    r"(?:^|[_\-. ])(?:imag(?:e|ing)|img|scan|volume|data)$|^(?:image|img|scan|volume)[_\-. ]",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"^(?P<base>.*)_(?P<index>\d{4})(?:_(?P<name>[A-Za-z][A-Za-z0-9]*))?$")
SEPARATORS = "_-. "
"""What stands between the words of a file name."""

_MODALITIES = {
    "CT": "ct cta cect ncct cbct",
    "MR": "mr mri t1 t1w t1c t1ce t1gd t1n t1wce t2 t2w t2f flair adc dwi pd pdw swi bold cine "
    "dce perfusion vibe",
    "PT": "pt pet suv fdg",
    "US": "us ultrasound",
    "RGB": "rgb red green blue r g b",
}

LEFT_OUT = (".", "__MACOSX", "Thumbs.db")
"""Beginnings of names that no data set means: hidden files, and what systems leave behind."""


@dataclass
class Group:
    """Files that belong together.

    Attributes:
        labels: Label files; more than one is a question for the importer.
        images: Channel name (or "") -> file, in the order of the channels.
    """

    labels: list[Path] = field(default_factory=list)
    images: dict[str, Path] = field(default_factory=dict)


def counted(number: int, what: str) -> str:
    """A number of things, in words: "1 case", "2 cases"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def modality_of(name: str) -> str:
    """DICOM's word for the modality that a channel's name speaks of; "" if it speaks of none."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for modality, known in _MODALITIES.items():
        if set(words) & set(known.split()):
            return modality
    return ""


def channel(name: str) -> Channel:
    """A channel of this name, with the modality that it speaks of."""
    return Channel(name=name, modality=modality_of(name))


def visible(folder: Path) -> list[Path]:
    """What a folder holds, by name, without hidden files and what systems leave behind.

    Raises:
        DatasetError: If a name is no text.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(LEFT_OUT))
    require_text(folder, *names)
    return [folder / name for name in names]


def require_text(*names: str | Path) -> None:
    """Pass if names are text: a description keeps them as such.

    Raises:
        DatasetError: If one holds bytes that are no UTF-8.
    """
    for name in names:
        try:
            str(name).encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                "Names of files and folders of a data set are UTF-8 text.",
                received=ascii(str(name)),
                cure="Rename it.",
            ) from error


def image_files(folder: Path) -> list[Path]:
    """Images that lie directly in a folder, by name."""
    return [path for path in visible(folder) if is_image_file(path) and path.is_file()]


def folders_with_images(folder: Path, *, depth: int) -> Iterator[tuple[Path, list[Path]]]:
    """`folder` and those below it, to this depth, that hold images directly."""
    files = image_files(folder)
    if files:
        yield folder, files
    if depth > 0:
        for path in visible(folder):
            if path.is_dir():
                yield from folders_with_images(path, depth=depth - 1)


def label_base(stem: str) -> str | None:
    """What stands before the word that makes a name a label's, or after it where nothing does.

    >>> label_base("patient_7_seg"), label_base("segmentation-7"), label_base("mask")
    ('patient_7', '7', '')
    >>> label_base("patient_7_t1") is None
    True
    """
    found = list(_LABEL_WORD.finditer(stem))
    if not found:
        return None
    return stem[: found[-1].start()] or stem[found[-1].end() :].lstrip(SEPARATORS)


def image_base(stem: str) -> str:
    """A name without the word "image": "CT_image" becomes "CT", "volume-7" becomes "7"."""
    return _IMAGE_WORD.sub("", stem, count=1)


def longest_start(stem: str, names: Container[str]) -> str | None:
    """The longest of `names` that `stem` continues after a separator; None if there is none.

    >>> longest_start("7_2_flair", {"7", "7_2", "7_2_fl"})
    '7_2'
    """
    ends = (n for n in range(len(stem) - 1, 0, -1) if stem[n] in SEPARATORS)
    return next((stem[:n] for n in ends if stem[:n] in names), None)


def channel_suffix(stem: str) -> tuple[str, int, str] | None:
    """nnU-Net's ending of a name: its base, channel number, and a name if one follows.

    >>> channel_suffix("brain_0001_t1c")
    ('brain', 1, 't1c')
    """
    found = _CHANNEL.match(stem)
    if found is None:
        return None
    return found["base"], int(found["index"]), found["name"] or ""


def pair(
    images: list[Path], labels: dict[str, list[Path]]
) -> tuple[dict[str, Group], dict[str, Path]]:
    """Find the images of each label.

    An image belongs to the label whose base is its own stem; or else to the longest base that its
    stem continues, and what follows names its channel ("7_flair" belongs to "7", "7_2" does not if
    there is an image "7").

    Args:
        images: Image files of one folder.
        labels: Base -> label files.

    Returns:
        Base -> its files; and the images that belong to none, by stem.

    Raises:
        DatasetError: If two images have the same name but for their suffix.
    """
    groups = {base: Group(labels=list(paths)) for base, paths in labels.items()}
    rest: dict[str, Path] = {}
    for path in images:
        stem = stem_of(path)
        base = next((name for name in (stem, image_base(stem)) if name in groups), None)
        if base is None:
            rest[stem] = path
        else:
            _add(groups[base], "", path)
    open_bases = {base for base, group in groups.items() if "" not in group.images}
    for stem in list(rest):
        base = longest_start(stem, open_bases)
        if base is None and "" in open_bases:
            base = ""
        if base is not None:
            _add(groups[base], stem[len(base) :].lstrip(SEPARATORS), rest.pop(stem))
    return groups, rest


def _add(group: Group, name: str, path: Path) -> None:
    if name in group.images:
        raise DatasetError(
            "A case has one image file for each channel.",
            received=f"{group.images[name].name} and {path.name}",
            cure="Keep one of them.",
        )
    group.images[name] = path
