"""One predicted case as it lies on disk: its record, mask, image, and the model's description."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import medseg
from medseg.errors import EvaluationError, MedsegError, MissingPath, UnreadableFile
from medseg.files import sha256
from medseg.report.plots.triptych import read_image
from medseg.report.scores.names import structures_within
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, read_volume
from medseg.volume.labels import Labels
from medseg.volume.volume import LabelMap, Volume

RECORD_FILE = "predictions.json"


@dataclass(frozen=True, eq=False)
class PredictedCase:
    """All that a page of one case is made from.

    Attributes:
        case: Its name.
        outcome: Its entry in `predictions.json`.
        record: The whole record.
        bundle: The model's `bundle.json`; empty where it was not found.
        labels: The structures of the model.
        mask: The mask; None where the prediction failed.
        image: The image on the grid of the mask; None where it is not there any more.
        mask_sha256: Digest of the mask's file.
        written: When the mask was written.
    """

    case: str
    outcome: dict[str, Any]
    record: dict[str, Any]
    bundle: dict[str, Any]
    labels: Labels
    mask: LabelMap | None
    image: Volume | None
    mask_sha256: str = ""
    written: datetime | None = None


def read_predicted_case(folder: Path, case: str, *, model: Path | None = None) -> PredictedCase:
    """Read a case of a prediction.

    Args:
        folder: Where `medseg predict` wrote masks and `predictions.json`.
        case: Name of the case.
        model: Folder of the bundle; None looks among those in the box. A bundle with other weights
            than the record names counts as not found.

    Raises:
        MissingPath: If there is no record, or the mask is gone.
        UnreadableFile: If the record or the mask cannot be read.
        EvaluationError: If the record holds no such case.
    """
    record = _record(folder)
    outcome = _outcome(record, case, folder)
    labels = structures_within({"labels": record.get("labels")}).labels
    bundle = _bundle(record, model)
    image = _image_of(outcome)
    file = outcome.get("file")
    if not isinstance(file, str):
        return PredictedCase(case, outcome, record, bundle, labels, None, None)
    path = folder / file
    if not path.is_file():
        raise MissingPath(
            "The mask that a record names lies beside it.",
            received=f"nothing at {path}",
            cure="Predict the case again.",
        )
    mask = _mask(path, labels, image.geometry if image else None)
    return PredictedCase(
        case=case,
        outcome=outcome,
        record=record,
        bundle=bundle,
        labels=labels or mask.labels,
        mask=mask,
        image=_on_grid(image, mask.geometry),
        mask_sha256=sha256(path),
        written=datetime.fromtimestamp(path.stat().st_mtime).astimezone(),
    )


def predicted_cases(folder: Path) -> tuple[str, ...]:
    """Names of all cases of a prediction.

    Raises:
        MissingPath: If there is no record.
        UnreadableFile: If it cannot be read.
    """
    return tuple(str(one["case"]) for one in _record(folder)["cases"])


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD_FILE
    if not path.is_file():
        raise MissingPath(
            "A prediction's folder holds predictions.json.",
            received=f"none in {folder}",
            cure="Name the folder that was given to medseg predict as --out.",
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(one["case"], str) for one in content["cases"]):
            raise ValueError("a case without a name")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"{path} must be the record of a prediction.",
            received=f"{type(error).__name__}: {error}",
            cure="Predict again.",
        ) from error
    return content


def _outcome(record: dict[str, Any], case: str, folder: Path) -> dict[str, Any]:
    found = {one["case"]: one for one in record["cases"]}
    if case not in found:
        names = ", ".join(list(found)[:5]) or "none"
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise EvaluationError(
            f"A page of a case needs one of the cases in {folder}.",
            received=repr(case),
            cure=f"Choose with --case one of {names}{more}.",
        )
    outcome: dict[str, Any] = found[case]
    return outcome


def _bundle(record: dict[str, Any], model: Path | None) -> dict[str, Any]:
    """The description of the bundle of these weights; empty where it is not found."""
    used = record.get("bundle")
    if not isinstance(used, dict):
        return {}
    name = Path(str(used.get("name", ""))).name
    box = Path(medseg.__file__).parent / "models" / name
    places = [model, model / "bundle"] if model is not None else [box]
    for place in places:
        try:
            content = json.loads((place / "bundle.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        same = isinstance(content, dict) and content.get("weights_sha256")
        if same and same == used.get("weights_sha256"):
            return dict(content)
    return {}


def _image_of(outcome: dict[str, Any]) -> Volume | None:
    """The image that was predicted from; None where it cannot be read any more."""
    sources = [Path(str(source)) for source in outcome.get("sources", [])]
    try:
        if len(sources) == 1:
            return read_image(sources[0])
        return read_volume(sources) if sources else None
    except (MedsegError, OSError):
        return None


def _mask(path: Path, labels: Labels, grid: Geometry | None) -> LabelMap:
    if path.suffix.lower() != ".dcm":
        return read_label_map(path, labels or None)
    from medseg.volume.dicom_labels import read_labels_on

    return read_labels_on(path, grid)


def _on_grid(image: Volume | None, grid: Geometry) -> Volume | None:
    if image is None or image.geometry.same_space(grid):
        return image
    turned = image.reoriented(grid.orientation)
    return turned if turned.geometry.same_space(grid) else None
