"""Cases that nobody trains on: drawn, written down, and scored the same for every contestant."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.dataset.description import DatasetDescription, read_case_label
from medseg.metrics.case import score_case
from medseg.volume.io import read_label_map


@dataclass(frozen=True)
class Unseen:
    """What the predictions of one training are worth.

    Attributes:
        cases: Identifiers.
        dice: Dice of each structure, one number a case.
        hd95_mm: 95th percentile of surface distances, of all cases and structures with both.
    """

    cases: tuple[str, ...]
    dice: dict[str, list[float]]
    hd95_mm: list[float]

    @property
    def mean_of_cases(self) -> list[float]:
        """Mean over the structures, one number a case."""
        return [float(value) for value in np.mean(list(self.dice.values()), axis=0)]


def write_split(described: DatasetDescription, unseen: int, seed: int, path: Path) -> None:
    """Draw the unseen cases and write who is who, for all contestants to read."""
    cases = sorted(described.cases, key=lambda case: case.id)
    if not 0 < unseen < len(cases):
        sys.exit(f"{len(cases)} cases cannot spare {unseen}: choose another --unseen.")
    chosen = set(np.random.default_rng(seed).permutation(len(cases))[:unseen].tolist())
    parts: dict[str, list[dict[str, str]]] = {"training": [], "unseen": []}
    for n, case in enumerate(cases):
        files = {"id": case.id, "image": str(case.images[0]), "label": str(case.label)}
        parts["unseen" if n in chosen else "training"].append(files)
    facts: dict[str, Any] = {
        "labels": {label.name: label.value for label in described.labels},
        "channel": described.channels[0].modality or described.channels[0].name,
        "seed": seed,
    }
    path.write_text(json.dumps(facts | parts, indent=1))


def score(described: DatasetDescription, unseen: Sequence[str], folder: Path) -> Unseen:
    """Score `folder/CASE.nii.gz` of every unseen case."""
    values = [label.value for label in described.labels]
    dice: list[list[float]] = []
    hd95: list[float] = []
    for case_id in unseen:
        reference = read_case_label(described, described.case(case_id))
        predicted = read_label_map(folder / f"{case_id}.nii.gz", described.labels)
        scores = score_case(
            predicted.array,
            reference.array,
            values=values,
            spacing_mm=reference.geometry.spacing_mm,
        )
        dice.append([scores[value].dice for value in values])
        hd95 += [s.hd95 for s in scores.values() if s.status == "ok"]
    names = [label.name for label in described.labels]
    columns = np.transpose(dice).tolist()
    return Unseen(tuple(unseen), dict(zip(names, columns, strict=True)), hd95)
