"""Which prediction belongs to which reference: by the name of the file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import EvaluationError, MissingPath, MissingPredictions
from medseg.report.scores.names import read_record
from medseg.volume.io import is_image_file, stem_of

if TYPE_CHECKING:
    from medseg.dataset.description import Case, DatasetDescription

_LISTED = 5
_DESCRIPTION = "medseg-dataset.json"


@dataclass(frozen=True)
class Pair:
    """A reference, and the prediction for it.

    Attributes:
        case: Name of the case.
        reference: File of the reference.
        predicted: File of the prediction, or None where there is none.
        entry: The case in its data set, where the references are one.
        image: A file or DICOM folder of the image itself, where one is known.
        resample: Whether a prediction on another grid is brought onto the reference's.
        objects_of: Where both masks number objects: the label value that all objects have.
        ignored_value: What the reference holds where nobody has judged; nothing is scored there.
    """

    case: str
    reference: Path
    predicted: Path | None
    entry: "Case | None" = None
    image: Path | None = None
    resample: bool = False
    objects_of: int | None = None
    ignored_value: int | None = None


@dataclass(frozen=True)
class Pairs:
    """All references with their predictions.

    Attributes:
        all: Ordered by case.
        extra: Predictions for which there is no reference.
        dataset: The data set that the references are, if they are one.
    """

    all: tuple[Pair, ...]
    extra: tuple[str, ...] = ()
    dataset: "DatasetDescription | None" = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases without a prediction."""
        return tuple(pair.case for pair in self.all if pair.predicted is None)

    def read_as(
        self, *, resample: bool, objects_of: int | None, ignored_value: int | None = None
    ) -> "Pairs":
        """The same files, read in another way; see `Pair`."""
        way: dict[str, Any] = {
            "resample": resample, "objects_of": objects_of, "ignored_value": ignored_value,
        }  # fmt: skip
        return Pairs(tuple(replace(pair, **way) for pair in self.all), self.extra, self.dataset)

    def require_all(self) -> None:
        """Pass if every reference has a prediction.

        Raises:
            MissingPredictions: If not; the message lists the cases.
        """
        if self.missing:
            raise MissingPredictions(
                "Every reference has a prediction of its name.",
                received=f"none for {len(self.missing)} of {len(self.all)} cases "
                f"({_listed(self.missing)})",
                cure="Predict them, or pass --allow-missing to count every structure there as "
                "missed, or --only-predicted to leave these cases out.",
            )


def find_pairs(predictions: Path, references: Path) -> Pairs:
    """Pair files by their stem: `case_7.nii.gz` with `case_7.nrrd` or `case_7.dcm`.

    Args:
        predictions: A folder of masks, or one file.
        references: A folder of masks, one file, or a data set, of which the labelled cases count.

    Raises:
        MissingPath: If one of them is not there.
        EvaluationError: If nothing fits together, or a name stands for several files.
    """
    for path in (predictions, references):
        if not path.exists():
            raise MissingPath(
                "Predictions and references are files or folders.",
                received=f"nothing at {path}",
                cure="Check the spelling of the path.",
            )
    if predictions.is_file() and references.is_file():
        image = _image_beside(references) or _sources(predictions.parent).get(_stem(predictions))
        return Pairs((Pair(_stem(references), references, predictions, image=image),))
    sources = _sources(predictions if predictions.is_dir() else predictions.parent)
    predicted = _by_stem([predictions] if predictions.is_file() else _predicted(predictions))
    dataset = _dataset(references)
    if dataset is not None:
        wanted = [
            Pair(case.id, case.label, predicted.pop(case.id, None), entry=case)
            for case in dataset.cases
            if case.label is not None
        ]
    else:
        files = _by_stem([references] if references.is_file() else _masks(references))
        wanted = [
            Pair(
                stem,
                file,
                predicted.pop(stem, None),
                image=_image_beside(file) or sources.get(stem),
            )
            for stem, file in files.items()
        ]
    if not any(pair.predicted for pair in wanted):
        raise EvaluationError(
            "A prediction has the name of its reference, such as case_7.nii.gz.",
            received=f"{_some(predicted)} in {predictions}, "
            f"{_some(pair.case for pair in wanted)} in {references}",
            cure="Rename the files of one folder, or name two single files.",
        )
    ordered = sorted(wanted, key=lambda pair: pair.case)
    return Pairs(tuple(ordered), tuple(sorted(predicted)), dataset)


def _dataset(references: Path) -> "DatasetDescription | None":
    """The data set at this path, or None for a plain folder of masks."""
    names = (_DESCRIPTION, "dataset.json", "labelsTr")
    described = any((references / name).exists() for name in names)
    folder = references.is_dir() and (described or not _masks(references))
    if not folder and references.name != _DESCRIPTION:
        return None
    from medseg.dataset.importers import open_dataset

    return open_dataset(references)


def _masks(folder: Path) -> list[Path]:
    """Image files, DICOM-SEG and RTSTRUCT of a folder, hidden ones left out."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and (is_image_file(path) or path.suffix.lower() == ".dcm")
    ]


def _predicted(folder: Path) -> list[Path]:
    """Masks of a folder of predictions; maps and reports that its record lists are none."""
    cases = read_record(folder).get("cases", [])
    listed = [
        name
        for case in (cases if isinstance(cases, list) else [])
        for kind in ("attention", "reports")
        if isinstance(case, dict) and isinstance(case.get(kind), list)
        for name in case[kind]
    ]
    return [path for path in _masks(folder) if path.name not in listed]


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        stem = _stem(path)
        if stem in found:
            raise EvaluationError(
                "A case has one mask in a folder.",
                received=f"{found[stem].name} and {path.name} in {path.parent}",
                cure="Move one of them elsewhere.",
            )
        found[stem] = path
    return found


def _stem(path: Path) -> str:
    return path.stem if path.suffix.lower() == ".dcm" else stem_of(path)


def _sources(folder: Path) -> dict[str, Path]:
    """From what each mask of a folder was predicted: the first file, or the DICOM folder."""
    cases = read_record(folder).get("cases", [])
    return {
        case["case"]: Path(case["sources"][0])
        for case in (cases if isinstance(cases, list) else [])
        if isinstance(case, dict) and case.get("sources") and isinstance(case.get("case"), str)
    }


def _image_beside(reference: Path) -> Path | None:
    """The image in MSD's and nnU-Net's layout: labelsTr/X.nii.gz has imagesTr/X.nii.gz."""
    folder = reference.parent
    if "label" not in folder.name:
        return None
    images = folder.parent / folder.name.replace("label", "image")
    stem = stem_of(reference)
    names = (reference.name, f"{stem}_0000{reference.name[len(stem) :]}")
    return next((images / name for name in names if (images / name).is_file()), None)


def files_for(pairs: Iterable[Pair], folder: Path, *, what: str) -> dict[str, Path]:
    """Further files of the cases, by the same names: for example their probabilities.

    Args:
        pairs: The cases.
        folder: Where the files are.
        what: What they are called, for the message.

    Returns:
        The file of each case by its name.

    Raises:
        MissingPath: If there is no such folder.
        EvaluationError: If a case has none, or several.
    """
    if not folder.is_dir():
        raise MissingPath(
            f"{what} are a folder with a file for each case.",
            received=f"nothing at {folder}",
            cure="Check the spelling of the path.",
        )
    found = _by_stem(_masks(folder))
    wanted = [pair.case for pair in pairs if pair.predicted is not None]
    lacking = [case for case in wanted if case not in found]
    if lacking:
        raise EvaluationError(
            f"{what} are there for every case that was predicted, by the name of the case.",
            received=f"none for {len(lacking)} of {len(wanted)} ({_listed(lacking)}) in {folder}",
            cure="Write those too, or leave the option out.",
        )
    return {case: found[case] for case in wanted}


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    shown = ", ".join(listed[:2]) or "no mask"
    return f"{shown} and {len(listed) - 2} more" if len(listed) > 2 else shown
