"""Every file of a data set read, and all that is wrong with it listed, each with its cure."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from medseg.dataset.casecheck import CaseFacts, examine
from medseg.dataset.description import DatasetDescription
from medseg.dataset.naming import LEFT_OUT, counted
from medseg.errors import FaultyDataset
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN
from medseg.volume.io import is_image_file

SPACING_FACTOR = 3.0
"""A case is an outlier if one of its spacings is this many times the median's, or smaller."""

_ENOUGH_FOR_OUTLIERS = 5
_WITHOUT_LABELS = ("imagests", "test", "testing", "unlabelled", "unlabeled")
_SEVERITIES = ("error", "warning")


class Fault(BaseModel):
    """One thing that is wrong.

    Attributes:
        case: Id of the case; "" for the data set as a whole.
        kind: A few words to count by, such as "grid mismatch".
        what: What was found.
        cure: What to do about it, as a sentence.
        severity: A case with an "error" cannot be trained on; a "warning" is worth a look.
    """

    model_config = FROZEN

    case: str
    kind: str
    what: str
    cure: str
    severity: Literal["error", "warning"] = "error"


def check_dataset(
    description: DatasetDescription, root: Path | None = None, *, progress: Progress = SILENT
) -> tuple[Fault, ...]:
    """Read every file and list all faults, errors before warnings.

    Args:
        description: The data set.
        root: Its folder, which is also searched for stray files; the folders of the cases always
            are.
        progress: Told about each case.
    """
    cases = description.all_cases
    with (
        progress.task("checking cases", len(cases)) as task,
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
    ):
        facts = []
        for found in pool.map(lambda case: examine(description, case), cases):
            facts.append(found)
            task.advance()
    faults = [
        Fault(case=one.case, **finding._asdict()) for one in facts for finding in one.findings
    ]
    faults += _unpaired(description)
    faults += _duplicates(facts)
    faults += _equal_channels(facts)
    faults += _spacing_outliers(facts)
    faults += _unused_labels(description, facts)
    faults += _stray_files(description, root)
    return tuple(sorted(faults, key=lambda fault: _SEVERITIES.index(fault.severity)))


def without_faulty(description: DatasetDescription, faults: Iterable[Fault]) -> DatasetDescription:
    """The data set without the cases that have an error.

    Raises:
        FaultyDataset: If no case with a label is left.
    """
    faulty = {fault.case for fault in faults if fault.severity == "error"}
    kept = tuple(case for case in description.cases if case.id not in faulty)
    if not kept:
        raise FaultyDataset(
            "At least one case with a label must be without errors.",
            received=f"errors in all {len(description.cases)}",
            cure="Repair them as `medseg dataset check` says.",
        )
    left_out = counted(sum(case.id in faulty for case in description.all_cases), "case")
    return description.model_copy(
        update={
            "cases": kept,
            "unlabelled": tuple(c for c in description.unlabelled if c.id not in faulty),
            "notes": (*description.notes, f"Left out because of errors: {left_out}."),
        }
    )


def _unpaired(description: DatasetDescription) -> list[Fault]:
    """Images without a label that lie where the labelled ones lie; a test set lies elsewhere."""
    if not description.cases:
        return []
    home = Path(os.path.commonpath([case.images[0].parent for case in description.cases]))
    alone = [case for case in description.unlabelled if _is_among(case.images[0], home)]
    severity: Literal["error", "warning"] = (
        "error" if len(alone) < len(description.cases) else "warning"
    )
    return [
        Fault(
            case=case.id,
            kind="missing pair",
            what="an image without a label file",
            cure="Add its label, or move the image away (to imagesTs, for example).",
            severity=severity,
        )
        for case in alone
    ]


def _is_among(image: Path, home: Path) -> bool:
    """Whether an image lies below the labelled ones' folder, and not in one for tests."""
    if not image.is_relative_to(home):
        return False
    return not {part.lower() for part in image.relative_to(home).parts} & set(_WITHOUT_LABELS)


def _duplicates(facts: Sequence[CaseFacts]) -> list[Fault]:
    first: dict[str, str] = {}
    faults = []
    for one in facts:
        key = "".join(one.digests)
        if key and first.setdefault(key, one.case) != one.case:
            faults.append(
                Fault(
                    case=one.case,
                    kind="duplicate",
                    what=f"the same voxels as {first[key]}",
                    cure="Keep one of them: the same image on both sides of a split flatters.",
                )
            )
    return faults


def _equal_channels(facts: Sequence[CaseFacts]) -> list[Fault]:
    """Cases with two equal channels where others have none: a missing channel was filled in."""
    several = [one for one in facts if len(one.digests) > 1]
    equal = [one for one in several if len(set(one.digests)) < len(one.digests)]
    if len(equal) == len(several):
        return []
    return [
        Fault(
            case=one.case,
            kind="equal channels",
            what="two channels hold the same voxels",
            cure="Check whether one was missing and a copy of another took its place.",
            severity="warning",
        )
        for one in equal
    ]


def _spacing_outliers(facts: Sequence[CaseFacts]) -> list[Fault]:
    """Cases whose spacing along R, A or S is far from the median's."""
    known = [one for one in facts if one.spacing_ras_mm is not None]
    if len(known) < _ENOUGH_FOR_OUTLIERS:
        return []
    spacings = np.array([one.spacing_ras_mm for one in known])
    median = np.median(spacings, axis=0)
    far = (np.abs(np.log(spacings / median)) > np.log(SPACING_FACTOR)).any(axis=1)
    return [
        Fault(
            case=one.case,
            kind="spacing outlier",
            what=f"voxels of {_mm(spacing)} mm; the median is {_mm(median)} mm",
            cure="Check the header; if it is right, the case is resampled strongly.",
            severity="warning",
        )
        for one, spacing, outlier in zip(known, spacings, far, strict=True)
        if outlier
    ]


def _mm(spacing: Iterable[float]) -> str:
    return " x ".join(f"{length:.3g}" for length in spacing)


def _unused_labels(description: DatasetDescription, facts: Sequence[CaseFacts]) -> list[Fault]:
    seen = set().union(*(one.values for one in facts))
    if not seen or description.instances:
        return []
    return [
        Fault(
            case="",
            kind="unused label",
            what=f"{label.name} (value {label.value}) is in no label file",
            cure="Check the list of labels; a structure that never occurs cannot be learnt.",
            severity="warning",
        )
        for label in description.labels
        if label.value not in seen
    ]


def _stray_files(description: DatasetDescription, root: Path | None) -> list[Fault]:
    """Hidden files, what systems leave behind, and images that belong to no case."""
    used = {path for case in description.all_cases for path in (*case.images, case.label) if path}
    folders = {path.parent for path in used} | ({root} if root else set())
    faults = []
    for folder in sorted(folder for folder in folders if folder.is_dir()):
        inside = sorted(folder.iterdir())
        stray = [path for path in inside if path.name.startswith(LEFT_OUT)]
        if stray:
            faults.append(_stray(folder, stray, "what systems leave behind; it is passed over"))
        unused = [p for p in inside if p not in used and is_image_file(p) and p not in stray]
        if unused:
            faults.append(_stray(folder, unused, "in no case"))
    return faults


def _stray(folder: Path, paths: Sequence[Path], why: str) -> Fault:
    shown = ", ".join(path.name for path in paths[:3])
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return Fault(
        case="",
        kind="stray file",
        what=f"{shown}{more} in {folder}: {why}",
        cure="Delete or move them, or leave them.",
        severity="warning",
    )
