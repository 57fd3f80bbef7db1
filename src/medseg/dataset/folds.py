"""Which cases train and which validate: by patient, balanced, and the same each time."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from medseg.dataset.description import Case, DatasetDescription, read_case_label
from medseg.errors import DatasetError, MissingPath
from medseg.files import write_text
from medseg.progress import SILENT, Progress
from medseg.specs import FROZEN

FILE_NAME = "folds.json"
"""Usual name of the file that holds the folds."""

HOLDOUT_SHARE = 0.1
HOLDOUT_MOST_CASES = 20
_FEWEST_TO_SPLIT = 5


class Folds(BaseModel):
    """A cross-validation: each case validates in one fold, and trains in all others.

    Attributes:
        seed: What the draw began from.
        count: Number of folds.
        validation: Ids of the cases that validate, for each fold.
    """

    model_config = FROZEN

    seed: int
    count: int = Field(ge=2)
    validation: tuple[tuple[str, ...], ...]

    def training(self, fold: int) -> tuple[str, ...]:
        """Ids of the cases that train in a fold: those of all other folds."""
        others = (ids for n, ids in enumerate(self.validation) if n != fold)
        return tuple(sorted(case_id for ids in others for case_id in ids))


def make_folds(
    description: DatasetDescription,
    *,
    count: int = 5,
    seed: int = 0,
    strata: Mapping[str, float] | None = None,
) -> Folds:
    """Share the cases out, all cases of a patient into one fold.

    Patients are ordered by their stratum and dealt out in rounds of `count`: each fold gets one of
    every level, and in each round the largest patient goes to the smallest fold, so that folds
    differ by no more cases than the largest patient has.

    Args:
        description: The data set; a case without a patient key counts as a patient of its own.
        count: Number of folds.
        seed: The same seed and cases give the same folds, in whatever order cases are listed.
        strata: Case id -> a number that all folds shall have alike, such as the volume of the
            structures.

    Raises:
        DatasetError: If there are fewer patients than folds, or fewer than two folds.
    """
    patients = _by_patient(description)
    if not 2 <= count <= len(patients):
        raise DatasetError(
            "Each fold validates on at least one patient, and there are at least two folds.",
            received=f"{count} folds of {len(patients)} patients",
            cure=f"Choose from 2 to {len(patients)} folds." if len(patients) > 1 else "Add cases.",
        )
    generator = np.random.default_rng(seed)
    order = _dealing_order(patients, strata or {}, generator)
    folds: list[list[str]] = [[] for _ in range(count)]
    for start in range(0, len(order), count):
        chance = generator.permutation(count)
        smallest_first = sorted(range(count), key=lambda n: (len(folds[n]), chance[n]))
        round_ = sorted(order[start : start + count], key=lambda who: -len(patients[who]))
        for fold, patient in zip(smallest_first, round_, strict=False):
            folds[fold] += patients[patient]
    return Folds(seed=seed, count=count, validation=tuple(tuple(sorted(ids)) for ids in folds))


def holdout(
    description: DatasetDescription, *, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A single split: a tenth of the patients validates, at least one and at most 20 cases.

    With fewer than 5 cases, or one patient only, nothing is held out: all cases are in both parts,
    and whoever trains must say so.

    Returns:
        Ids that train, and ids that validate.
    """
    patients = _by_patient(description)
    everyone = tuple(sorted(case.id for case in description.cases))
    if len(everyone) < _FEWEST_TO_SPLIT or len(patients) < 2:
        return everyone, everyone
    wanted = max(1, round(HOLDOUT_SHARE * len(patients)))
    names = sorted(patients)
    drawn = [names[n] for n in np.random.default_rng(seed).permutation(len(names))]
    held: list[str] = []
    for patient in drawn:
        if len(held) + len(patients[patient]) <= HOLDOUT_MOST_CASES and wanted > 0:
            held += patients[patient]
            wanted -= 1
    held = held or patients[min(drawn, key=lambda who: len(patients[who]))]
    return tuple(case_id for case_id in everyone if case_id not in set(held)), tuple(sorted(held))


def foreground_ml(
    description: DatasetDescription, *, progress: Progress = SILENT
) -> dict[str, float]:
    """Volume of all structures of each case in millilitres, to stratify by.

    Raises:
        MedsegError: If a label file cannot be read; `check_dataset` lists all of them.
    """
    volumes = {}
    with progress.task("measuring labels", len(description.cases)) as task:
        for case in description.cases:
            found = read_case_label(description, case).volumes_ml()
            volumes[case.id] = sum(found[label.name] for label in description.labels)
            task.advance()
    return volumes


def save_folds(folds: Folds, path: Path) -> None:
    """Write the folds as JSON.

    Raises:
        CannotWrite: If the file cannot be written.
    """
    write_text(path, folds.model_dump_json(indent=1) + "\n")


def load_folds(path: Path, description: DatasetDescription | None = None) -> Folds:
    """Read folds from a file, or from the folder that holds a `folds.json`.

    Args:
        path: File or folder.
        description: The data set that they must fit, case for case.

    Raises:
        MissingPath: If there is no such file.
        DatasetError: If it holds no folds, or those of other cases.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise MissingPath("Folds are a file.", received=f"nothing at {file}", cure=_CURE)
    try:
        folds = Folds.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DatasetError(
            f"{file.name} must hold the folds of a data set.",
            received=error.errors()[0]["msg"],
            cure=_CURE,
        ) from error
    if description is not None:
        _require_fit(folds, description, file)
    return folds


_CURE = "Make them: medseg dataset split DATASET --out folds.json."


def _require_fit(folds: Folds, description: DatasetDescription, file: Path) -> None:
    listed = sorted(case_id for ids in folds.validation for case_id in ids)
    known = sorted(case.id for case in description.cases)
    if listed != known:
        other = sorted(set(listed) ^ set(known)) or ["a case twice"]
        raise DatasetError(
            f"{file.name} must hold each case of {description.name} once.",
            received=f"{len(listed)} cases against {len(known)}; not in both: {other[0]}",
            cure=_CURE,
        )


def _by_patient(description: DatasetDescription) -> dict[str, list[str]]:
    """Patient -> ids of its cases; a case without a patient key is its own."""
    patients: dict[str, list[str]] = defaultdict(list)
    for case in sorted(description.cases, key=lambda case: case.id):
        patients[_key(case)].append(case.id)
    return patients


def _key(case: Case) -> str:
    return f"patient {case.patient}" if case.patient else f"case {case.id}"


def _dealing_order(
    patients: Mapping[str, list[str]],
    strata: Mapping[str, float],
    generator: np.random.Generator,
) -> list[str]:
    """Patients by stratum (the mean of their cases), equal ones by chance."""
    names = sorted(patients)
    shuffled = [names[n] for n in generator.permutation(len(names))]

    def level(patient: str) -> float:
        return float(np.mean([strata.get(case_id, 0.0) for case_id in patients[patient]]))

    return sorted(shuffled, key=level)
