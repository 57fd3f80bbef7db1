"""One case read and judged by itself."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from medseg.dataset.crop import count_useless
from medseg.dataset.description import Case, DatasetDescription, fit_channels
from medseg.dataset.labelfile import count_fractions, raw_label
from medseg.errors import DatasetError, DifferentSpace, LabelError, MedsegError
from medseg.types import AnyArray, SpacingMm
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume
from medseg.volume.regions import with_ignored
from medseg.volume.volume import Volume, distinct_values


class Finding(NamedTuple):
    """A fault before it has a case: kind, what was found, the cure, and how bad it is."""

    kind: str
    what: str
    cure: str
    severity: Literal["error", "warning"] = "error"


@dataclass
class CaseFacts:
    """What reading one case told.

    Attributes:
        case: Its id.
        findings: What is wrong with it.
        digests: A hash of the voxels of each channel; empty if the image could not be read.
        spacing_ras_mm: Voxel spacing along R, A and S.
        values: Values above 0 in its label file.
    """

    case: str
    findings: list[Finding] = field(default_factory=list)
    digests: tuple[str, ...] = ()
    spacing_ras_mm: SpacingMm | None = None
    values: frozenset[int] = frozenset()


def examine(description: DatasetDescription, case: Case) -> CaseFacts:
    """Read all files of a case and find what is wrong with them."""
    facts = CaseFacts(case.id)
    first = _examine_images(description, case, facts)
    if case.label is not None:
        _examine_label(description, case.label, facts, first)
    return facts


def _examine_images(
    description: DatasetDescription, case: Case, facts: CaseFacts
) -> tuple[Path, Geometry] | None:
    """Judge the images; give back the first that could be read, and its grid."""
    digests: list[str] = []
    first: tuple[Path, Geometry] | None = None
    missing = [path for path in case.images if not path.exists()]
    for path in case.images:
        if path in missing:
            facts.findings.append(_missing(path, whole=len(missing) == len(case.images)))
            continue
        volume = _read(path, facts)
        if volume is None:
            continue
        if first is None:
            first = path, volume.geometry
        else:
            _compare_grids(first, (path, volume.geometry), facts)
        _judge_channels(description, case, volume, facts)
        _judge_intensities(path, volume.array, facts)
        digests += [_digest(channel) for channel in volume.array]
    if first is not None:
        i, j, k = (first[1].spacing_mm[axis] for axis in first[1].axis_order)
        facts.spacing_ras_mm = (i, j, k)
        facts.digests = tuple(digests) if len(digests) >= len(case.images) else ()
    return first


def _missing(path: Path, *, whole: bool) -> Finding:
    kind = "missing pair" if whole else "missing channel"
    return Finding(kind, f"no image at {path}", "Restore the file, or take the case out.")


def _read(path: Path, facts: CaseFacts) -> Volume | None:
    try:
        return read_volume(path)
    except (MedsegError, OSError) as error:
        facts.findings.append(_unreadable(path, error))
        return None


def _unreadable(path: Path, error: MedsegError | OSError) -> Finding:
    if isinstance(error, MedsegError):
        what = f"{error.rule} Received: {error.received}." if error.received else error.rule
        return Finding("unreadable", what, error.cure or "Copy it again from its source.")
    what = f"{path}: {error.strerror or error}"
    return Finding("unreadable", what, "Check its permissions, and copy it again from its source.")


def _compare_grids(
    one: tuple[Path, Geometry], other: tuple[Path, Geometry], facts: CaseFacts
) -> None:
    try:
        one[1].require_same_space(other[1], what="a case")
    except DifferentSpace as error:
        facts.findings.append(
            Finding(
                "grid mismatch",
                f"{one[0].name} and {other[0].name}: {error.received}",
                f"Align it: medseg convert {other[0]} OUT{''.join(other[0].suffixes[-2:])} "
                f"--reference {one[0]}.",
            )
        )


def _judge_channels(
    description: DatasetDescription, case: Case, volume: Volume, facts: CaseFacts
) -> None:
    channels = description.channels if len(case.images) == 1 else description.channels[:1]
    try:
        fit_channels(volume, channels, what=volume.source.paths[0].name)
    except DatasetError as error:
        facts.findings.append(
            Finding("channels", f"{error.rule} Received: {error.received}.", error.cure)
        )


def _judge_intensities(path: Path, array: AnyArray, facts: CaseFacts) -> None:
    lowest, highest = array.min(), array.max()
    count = count_useless(array) if array.dtype.kind == "f" else 0
    if count:
        facts.findings.append(
            Finding(
                "not finite",
                f"{count} voxels of {path.name} are NaN, infinite or beyond float32",
                "Replace them by the background's value, or take the case out.",
            )
        )
    elif lowest == highest:
        facts.findings.append(
            Finding(
                "constant image",
                f"every voxel of {path.name} is {lowest:g}",
                "Export the image again, or take the case out.",
                "warning",
            )
        )


def _examine_label(
    description: DatasetDescription,
    path: Path,
    facts: CaseFacts,
    image: tuple[Path, Geometry] | None,
) -> None:
    if not path.exists():
        cure = "Add the label file, or take the case out."
        facts.findings.append(Finding("missing pair", f"no label at {path}", cure))
        return
    try:
        array, geometry = raw_label(path)
    except (MedsegError, OSError) as error:
        kind = "label values" if isinstance(error, LabelError) else "unreadable"
        facts.findings.append(_unreadable(path, error)._replace(kind=kind))
        return
    if image is not None:
        _compare_grids(image, (path, geometry), facts)
    _judge_values(description, path, array, facts)


def _judge_values(
    description: DatasetDescription, path: Path, array: AnyArray, facts: CaseFacts
) -> None:
    if array.dtype.kind == "f":
        finding = _float_finding(path, array)
        facts.findings.append(finding)
        if finding.severity == "error":
            return
    values = distinct_values(array)
    ignored = description.ignored_value
    known = with_ignored(description.labels, ignored)
    facts.values = frozenset(values - {0, ignored})
    allowed = {0, *(label.value for label in known)}
    unknown = sorted(values - allowed) if not description.instances else []
    if unknown:
        shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        facts.findings.append(
            Finding(
                "unknown label",
                f"{path.name} holds {shown}; the data set has "
                f"{', '.join(map(str, sorted(allowed)[:12]))}",
                "Name these values in the data set's labels, or relabel the file.",
            )
        )
    if values == {ignored}:
        facts.findings.append(
            Finding(
                "nothing judged",
                f"every voxel of {path.name} is ignored (value {ignored})",
                "Draw a part of it, or take the case out: nothing can be learnt from it.",
                "warning",
            )
        )
    elif not facts.values:
        facts.findings.append(
            Finding(
                "empty label",
                f"{path.name} holds background only",
                "Right if the structure is not there; else draw it, or take the case out.",
                "warning",
            )
        )


def _float_finding(path: Path, array: AnyArray) -> Finding:
    fractions = count_fractions(array)
    if fractions:
        return Finding(
            "float labels",
            f"{fractions} voxels of {path.name} hold fractions or no numbers",
            "Resample the label map as labels (nearest or by vote), and save whole numbers.",
        )
    return Finding(
        "float labels",
        f"{path.name} stores whole values as {array.dtype}",
        "Nothing must be done; medseg convert saves them as whole numbers.",
        "warning",
    )


def _digest(channel: AnyArray) -> str:
    """A hash of voxels and grid size, whatever the file's compression or name."""
    hasher = hashlib.sha256(f"{channel.shape}{channel.dtype.str}".encode())
    hasher.update(np.ascontiguousarray(channel.ravel(order="K")).data)
    return hasher.hexdigest()
