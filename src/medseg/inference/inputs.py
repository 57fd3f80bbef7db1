"""What the user points at becomes a list of cases: files, folders of files, folders of DICOM."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.dataset.naming import counted, image_base, label_base, longest_start
from medseg.errors import MedsegError, MissingPath, UnknownFormat, UnreadableFile
from medseg.progress import SILENT, Progress
from medseg.volume.io import is_dicom_file, is_image_file, read_volume, stem_of
from medseg.volume.volume import Volume

if TYPE_CHECKING:
    from medseg.volume.dicom import Series

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})(_[A-Za-z]\w*)?")
"""nnU-Net's names: CASE_0000 (or CASE_0000_flair) holds the first channel."""


@dataclass(frozen=True)
class CaseInput:
    """One case to predict.

    Attributes:
        id: Its name; unique among the cases of a run.
        images: One file for each channel, or one that holds them all; a series' files for DICOM.
        series: The DICOM series, or None for files.
        fault: Why it cannot be read, if that is known already.
    """

    id: str
    images: tuple[Path, ...]
    series: "Series | None" = None
    fault: MedsegError | None = None

    def with_gaps(self) -> "CaseInput":
        """The same case, of whose series slices may be missing."""
        if self.series is None:
            return self
        return replace(self, series=replace(self.series, allow_gaps=True))

    def read(self) -> Volume:
        """Read the images.

        Raises:
            FileError: If a file cannot be read.
            DicomError: If the series is no volume.
            DifferentSpace: If the channels lie on different grids.
        """
        if self.fault is not None:
            raise self.fault
        if self.series is not None:
            from medseg.volume.dicom import read_series  # slow to load

            return read_series(self.series)
        return read_volume(self.images)


def find_inputs(
    paths: Sequence[Path],
    *,
    series_uid: str = "",
    allow_gaps: bool = False,
    progress: Progress = SILENT,
) -> tuple[CaseInput, ...]:
    """Find the cases.

    Args:
        paths: Image files, folders of image files, DICOM folders (with as many series and
            sub-folders as there are) or multi-frame DICOM files, in any mixture.
        series_uid: The one DICOM series to take, by its SeriesInstanceUID or how that ends; all
            where not given.
        allow_gaps: Whether slices may be missing in DICOM series; they are interpolated.
        progress: Told what was renamed or left aside.

    Returns:
        The image files that were named, then what the folders hold, each in the order given. Names
        that occur twice get a number: "case-2".

    Raises:
        MissingPath: If there is nothing at a path, or no image in a folder.
        UnknownFormat: If a file is no image.
        UnreadableFile: If a DICOM file that was named is broken.
        NoDicom: If there is no series of this UID.
    """
    files: list[Path] = []
    cases: list[CaseInput] = []
    for path in paths:
        if path.is_dir():
            cases += _from_folder(path, progress)
        elif not path.exists():
            raise MissingPath(
                "Cases are files or folders.",
                received=f"nothing at {path}",
                cure="Check the spelling of the path.",
            )
        elif not is_image_file(path) and is_dicom_file(path):
            from medseg.volume.dicom import find_series  # slow to load

            cases += [CaseInput(_safe(path.stem), one.paths, one) for one in find_series(path)]
        else:
            files.append(path)
    found = [*_from_files(files), *cases]
    if series_uid:
        from medseg.volume.dicom import select_series  # slow to load

        series = [case.series for case in found if case.series is not None]
        wanted = {one.uid for one in select_series(series, series_uid, paths[0])}
        found = [case for case in found if case.series is not None and case.series.uid in wanted]
    if allow_gaps:
        found = [case.with_gaps() for case in found]
    return _unique(found, progress)


def _from_folder(folder: Path, progress: Progress) -> list[CaseInput]:
    """Image files of the folder itself, or else the DICOM series anywhere below it."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_image_file(path)]
    if files:
        labels = _labels_beside(files)
        if labels:
            progress.note(
                f"Left aside, {counted(len(labels), 'label file')} beside the images: "
                f"{labels[0].name}{', ...' if len(labels) > 1 else ''}."
            )
        return _from_files(path for path in files if path not in labels)
    cases = _from_dicom(folder)
    scouts = [case for case in cases if case.series is not None and case.series.is_localizer]
    if len(scouts) < len(cases):
        for case in scouts:
            progress.note(f"Left aside, a localizer: {case.series}.")
            cases.remove(case)
    if not cases:
        raise MissingPath(
            "A folder of cases holds image files, or DICOM somewhere below it.",
            received=f"neither in {folder}",
            cure="Name the folder in which the images themselves lie.",
        )
    return cases


def _labels_beside(files: Sequence[Path]) -> list[Path]:
    """Files that are named as the label of another one: "a_seg.png" beside "a.png".

    A file named as a label is a case if its image does not lie here.
    """
    bases = {path: label_base(stem_of(path)) for path in files}
    stems = [stem_of(path) for path, base in bases.items() if base is None]

    def has_image(base: str) -> bool:
        return any(
            base in ("", stem, image_base(stem)) or longest_start(stem, {base}) for stem in stems
        )

    return [path for path, base in bases.items() if base is not None and has_image(base)]


def _from_dicom(folder: Path) -> list[CaseInput]:
    """All series below a folder; a broken file spoils the sub-folder that it lies in only."""
    from medseg.volume.dicom import find_series  # slow to load

    try:
        series = find_series(folder)
    except UnreadableFile as error:
        within = sorted(folder.iterdir())
        cases = [case for path in within if path.is_dir() for case in _from_dicom(path)]
        if any(is_dicom_file(path) for path in within) or not cases:
            name = _safe(folder.resolve().name) or "series"
            cases.append(CaseInput(name, (folder,), fault=error))
        return cases
    return [_from_series(one, series) for one in series]


def _from_series(one: "Series", found: "Sequence[Series]") -> CaseInput:
    """A case named by its folder, or where folders are shared by description and end of UID."""
    folder = one.paths[0].parent
    sharing = sum(other.paths[0].parent == folder for other in found)
    name = _safe(folder.resolve().name) if sharing == 1 else ""
    name = name or f"{_safe(one.description) or 'series'}_{one.uid.replace('.', '')[-6:]}"
    return CaseInput(name, one.paths, one)


def _from_files(files: Iterable[Path]) -> list[CaseInput]:
    """Group CASE_0000, CASE_0001, ... of one folder and one format; the rest stand alone."""
    groups: dict[tuple[Path, str, str], dict[int, Path]] = defaultdict(dict)
    for path in files:
        if not is_image_file(path):
            raise UnknownFormat(
                "A case is an image file, a folder of image files or a DICOM folder.",
                received=str(path),
                cure="Convert it first, or name the folder that holds the DICOM files.",
            )
        stem = stem_of(path)
        suffix = path.name[len(stem) :]
        match = _CHANNEL.fullmatch(stem)
        if match:
            group = groups[path.parent, match["case"], suffix]
            if group.setdefault(int(match["channel"]), path) == path:
                continue
        groups[path.parent, stem, suffix][-1] = path
    cases = []
    for (_, name, _), channels in groups.items():
        cases += _split_group(name, channels)
    return cases


def _split_group(name: str, channels: dict[int, Path]) -> list[CaseInput]:
    """One case if the channels count from 0000 without a gap; else each file is a case."""
    whole = channels.pop(-1, None)
    cases = [CaseInput(name, (whole,))] if whole else []
    if sorted(channels) == list(range(len(channels))):
        ordered = tuple(channels[n] for n in sorted(channels))
        return [*cases, *([CaseInput(name, ordered)] if ordered else [])]
    return [*cases, *(CaseInput(stem_of(path), (path,)) for path in channels.values())]


def _unique(cases: Sequence[CaseInput], progress: Progress) -> tuple[CaseInput, ...]:
    """Give every case a name of its own; later ones of the same name get a number."""
    taken: set[str] = set()
    named = []
    for case in cases:
        name, n = case.id, 2
        while name.lower() in taken:
            name, n = f"{case.id}-{n}", n + 1
        if name != case.id:
            progress.note(f"Two cases are named {case.id}: {case.images[0]} becomes {name}.")
        taken.add(name.lower())
        named.append(replace(case, id=name))
    return tuple(named)


def _safe(text: str) -> str:
    """What of a text may stand in a file name on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:64]
