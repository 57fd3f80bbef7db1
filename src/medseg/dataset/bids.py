"""Names as the Brain Imaging Data Structure has them: `sub-01_ses-02_T1w.nii.gz`.

Source: Gorgolewski et al., Scientific Data 3, 160044 (2016); labels as "derivatives" or beside.
"""

import re
from pathlib import Path

from medseg.dataset.assemble import RawCase, RawDataset
from medseg.dataset.naming import folders_with_images, label_base
from medseg.errors import DatasetError
from medseg.volume.io import stem_of

_ENTITY = re.compile(r"^([A-Za-z]+)-([A-Za-z0-9+.]+)$")
_DEPTH = 6


def find_bids(root: Path) -> RawDataset | None:
    """Cases by subject and session; the last word of a name is the channel, or says "dseg"."""
    cases: dict[str, RawCase] = {}
    labels: dict[str, list[Path]] = {}
    for _, files in folders_with_images(root, depth=_DEPTH):
        for path in files:
            place = _place(path)
            if place is None:
                continue
            case_id, subject, name = place
            if label_base(stem_of(path)) is not None:
                labels.setdefault(case_id, []).append(path)
                continue
            case = cases.setdefault(case_id, RawCase(case_id, {}, patient=subject))
            if name in case.images:
                raise DatasetError(
                    "A subject has one image of a kind in each session.",
                    received=f"{case.images[name].name} and {path.name}",
                    cure="Leave one of them out.",
                )
            case.images[name] = path
    if not labels:
        return None
    for case_id, paths in labels.items():
        case = cases.setdefault(case_id, RawCase(case_id, {}, patient=case_id.split("_")[0]))
        case.label = _one(case_id, paths)
        if not case.images:
            stem = stem_of(case.label)
            before = (label_base(stem) or stem).rstrip("_-")
            case.images[""] = case.label.with_name(f"{before}{case.label.name[len(stem) :]}")
    return RawDataset(root, list(cases.values()))


def _place(path: Path) -> tuple[str, str, str] | None:
    """Case id (subject and session), subject, and the name of the channel; None for other names."""
    words = stem_of(path).split("_")
    entities = {found[1]: found[2] for word in words if (found := _ENTITY.match(word))}
    if not words[0].startswith("sub-") or "sub" not in entities:
        return None
    subject = f"sub-{entities['sub']}"
    parts = [subject] + [f"{key}-{entities[key]}" for key in ("ses",) if key in entities]
    marks = [f"{key}-{entities[key]}" for key in ("acq", "ce", "run", "echo") if key in entities]
    return "_".join(parts), subject, "_".join([*marks, words[-1]])


def _one(case_id: str, paths: list[Path]) -> Path:
    """The label of a case: a discrete segmentation ("dseg") before masks of one structure."""
    best = [path for path in paths if stem_of(path).endswith("dseg")] or paths
    if len(best) > 1:
        raise DatasetError(
            "A case has one label file, with a value for each structure.",
            received=f"{len(best)} for {case_id}: {', '.join(path.name for path in best[:4])}",
            cure="Join them into one file, or keep one.",
        )
    return best[0]
