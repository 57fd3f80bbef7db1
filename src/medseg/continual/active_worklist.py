"""Chosen cases as a folder to work through: a list, the images, and masks to correct.

Files are laid out as MONAI Label keeps them, which 3D Slicer opens too, an image and its mask under
one name:

    worklist.csv                 rank, case, score and where everything lies
    images/NAME.nii.gz           the image (NAME_0000.nii.gz and so on, of several channels)
    images/labels/original/      masks that the bundle predicted
    images/labels/final/         empty: corrected masks go here
    dicom/NAME/                  of a DICOM series: its files
    dicom-seg/NAME.dcm           and the predicted mask as a DICOM-SEG
"""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from medseg.bundle import Bundle
from medseg.continual.active import Selection
from medseg.errors import CannotWrite, DriftError
from medseg.files import atomic_folder, write_text
from medseg.inference.batch import predict_cases
from medseg.inference.engine import Device
from medseg.inference.inputs import CaseInput
from medseg.inference.predict import Predictor
from medseg.inference.record import CaseOutcome
from medseg.progress import SILENT, Progress
from medseg.volume.io import write_volume

LIST_FILE = "worklist.csv"
COLUMNS = ("rank", "case", "score", "predicted_dice", "quality", "image", "mask", "corrected")

IMAGES, ORIGINAL, FINAL = "images", "images/labels/original", "images/labels/final"
SERIES, SEGMENTATIONS = "dicom", "dicom-seg"


def write_worklist(
    selection: Selection,
    pool: Sequence[CaseInput],
    bundle: Bundle,
    folder: Path,
    *,
    device: Device = "auto",
    progress: Progress = SILENT,
) -> Path:
    """Write images, predicted masks and the list, all of it or nothing.

    Args:
        selection: What was chosen.
        pool: What it was chosen from.
        bundle: Whose masks are to be corrected.
        folder: A new folder, or an empty one.
        device: Where the networks run.
        progress: Told after each case.

    Returns:
        The path of `worklist.csv`.

    Raises:
        CannotWrite: If the folder holds anything, or cannot be written.
        DriftError: If a chosen case cannot be segmented.
    """
    require_new(folder)
    cases = {case.id: case for case in pool}
    chosen = [cases[name] for name in selection.cases]
    with atomic_folder(folder) as temporary:
        outcomes = _predicted(chosen, bundle, temporary, device, progress)
        for place in (ORIGINAL, FINAL):
            if any(case.series is None for case in chosen):
                (temporary / place).mkdir(parents=True, exist_ok=True)
        rows = [
            _row(selection, n, _copied(case, temporary), outcomes[case.id])
            for n, case in enumerate(chosen)
        ]
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(temporary / LIST_FILE, table.getvalue())
    return folder / LIST_FILE


def require_new(folder: Path) -> None:
    """Pass if nothing lies in a folder yet.

    Raises:
        CannotWrite: If anything does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotWrite(
            "A worklist gets a folder of its own: corrected masks are never written over.",
            received=f"{folder}, where something lies",
            cure="Choose another folder with --out.",
        )


def _predicted(
    chosen: Sequence[CaseInput], bundle: Bundle, root: Path, device: Device, progress: Progress
) -> dict[str, CaseOutcome]:
    """Masks of files as NIfTI, of DICOM as DICOM-SEG."""
    predictor = Predictor(bundle, device=device)
    files = [case for case in chosen if case.series is None]
    series = [case for case in chosen if case.series is not None]
    outcomes = []
    if files:
        outcomes += predict_cases(files, predictor, root / ORIGINAL, progress=progress)
    if series:
        outcomes += predict_cases(
            series, predictor, root / SEGMENTATIONS, format="dicom-seg", progress=progress
        )
    for one in outcomes:
        if one.error is not None:
            raise DriftError(
                "Each chosen case gets a mask to correct.",
                received=f"{one.case}: {one.error.message.rstrip('.')}",
                cure="Take this case out of the pool.",
            )
    return {one.case: one for one in outcomes}


def _copied(case: CaseInput, root: Path) -> str:
    """The image in its new place; NIfTI and DICOM as they are, anything else as NIfTI."""
    if case.series is not None:
        place = root / SERIES / case.id
        place.mkdir(parents=True)
        for n, path in enumerate(case.images):
            shutil.copyfile(path, place / f"{n:05d}.dcm")
        return f"{SERIES}/{case.id}"
    place = root / IMAGES
    place.mkdir(exist_ok=True)
    if all(path.name.endswith(".nii.gz") for path in case.images):
        several = len(case.images) > 1
        for n, path in enumerate(case.images):
            name = f"{case.id}_{n:04d}.nii.gz" if several else f"{case.id}.nii.gz"
            shutil.copyfile(path, place / name)
        return f"{IMAGES}/{case.id}_0000.nii.gz" if several else f"{IMAGES}/{case.id}.nii.gz"
    write_volume(case.read(), place / f"{case.id}.nii.gz")
    return f"{IMAGES}/{case.id}.nii.gz"


def _row(selection: Selection, n: int, image: str, outcome: CaseOutcome) -> dict[str, str]:
    one = selection.chosen[n]
    is_series = image.startswith(f"{SERIES}/")
    place = SEGMENTATIONS if is_series else ORIGINAL
    return {
        "rank": str(one.rank),
        "case": one.case,
        "score": "" if one.score is None else f"{one.score:.5g}",
        "predicted_dice": "" if one.predicted_dice is None else f"{one.predicted_dice:.3f}",
        "quality": "" if outcome.quality is None else f"{outcome.quality.score:.3f}",
        "image": image,
        "mask": f"{place}/{outcome.file}",
        "corrected": "" if is_series else f"{FINAL}/{outcome.file}",
    }
