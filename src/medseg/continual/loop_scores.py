"""Two bundles on the same cases: masks, Dice case by case, a page; and where new labels lie."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.bundle import Bundle
from medseg.continual.promotion import Comparison, Displacement, Domain
from medseg.dataset.description import DatasetDescription, read_case_label, save_description
from medseg.inference.batch import predict_cases
from medseg.inference.engine import Device
from medseg.inference.inputs import CaseInput
from medseg.inference.predict import Predictor
from medseg.inference.record import RECORD_FILE
from medseg.metrics.overlap import Overlap
from medseg.progress import Progress
from medseg.report.pages.comparison_page import write_comparison_report
from medseg.report.scores.compare import compare
from medseg.report.scores.comparison_tables import save_comparison
from medseg.report.scores.score import Evaluation, evaluate
from medseg.report.scores.score_table import table_of
from medseg.types import Mask
from medseg.volume.io import read_label_map


def compared(
    cases: DatasetDescription,
    bundles: Mapping[str, Bundle],
    folder: Path,
    domain: Domain,
    device: Device,
    progress: Progress,
) -> Comparison:
    """Segment and score the cases with both bundles.

    Masks that an earlier attempt finished are kept. `report.html` and `comparison.json` lie in the
    folder.

    Args:
        cases: A data set all of whose cases have a reference.
        bundles: The one in use as "current", and the "candidate".
        folder: Where results go.
        domain: Of the cases.
        device: Where networks run.
        progress: Told after each case.

    Raises:
        MedsegError: If a reference cannot be read.
    """
    save_description(cases, folder)
    found: dict[str, Evaluation] = {}
    for name, bundle in bundles.items():
        place = folder / name
        predict_into(cases, bundle, place, device, progress)
        found[name] = evaluate(place, folder, allow_missing=True, workers=1, progress=progress)
    comparison = compare(found)
    save_comparison(comparison, folder)
    write_comparison_report(comparison, folder / "report.html")
    tables = {name: table_of(one) for name, one in found.items()}
    labels = tables["current"].labels
    tables = {name: one.part(tables["current"].cases, labels) for name, one in tables.items()}

    def rows(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(map(float, row)) for row in tables[name].numbers["dice"])

    return Comparison(
        domain=domain,
        cases=tables["current"].cases,
        labels=labels,
        current=rows("current"),
        candidate=rows("candidate"),
    )


def predict_into(
    cases: DatasetDescription, bundle: Bundle, folder: Path, device: Device, progress: Progress
) -> None:
    """Segment all cases; masks of the same bundle that are there already are kept."""
    predictor = Predictor(bundle, engine="torch", device=device, progress=progress)
    inputs = [CaseInput(case.id, case.images) for case in cases.cases]
    resume = (folder / RECORD_FILE).is_file()
    predict_cases(inputs, predictor, folder, resume=resume, progress=progress)


def displacement_mm(
    cases: DatasetDescription, bundle: Bundle, folder: Path, device: Device, progress: Progress
) -> list[Displacement]:
    """How far each label lies from the mask of a bundle, and how much better it fits once put back.

    Args:
        cases: With new labels.
        bundle: The one in use.
        folder: Where its masks go.
        device: Where networks run.
        progress: Told after each case.

    Returns:
        One for each case in which both hold a structure.

    Raises:
        MedsegError: If a label cannot be read.
    """
    predict_into(cases, bundle, folder, device, progress)
    found: list[Displacement] = []
    for case in cases.cases:
        mask_file = folder / f"{case.id}.nii.gz"
        if not mask_file.is_file():
            continue
        label_map = read_case_label(cases, case)
        values = [label.value for label in cases.labels]
        drawn = np.isin(label_map.array, values)
        seen = read_label_map(mask_file).array > 0
        if not drawn.any() or not seen.any():
            continue
        voxels = np.array(ndimage.center_of_mass(drawn)) - ndimage.center_of_mass(seen)
        steps = [-round(float(n)) for n in voxels]
        back = _moved(drawn, steps)
        geometry = label_map.geometry
        right, front, up = (float(x) for x in geometry.affine[:3, :3] @ voxels)
        found.append(
            Displacement(
                mm=(right, front, up),
                dice=_dice(drawn, seen),
                dice_moved_back=_dice(back, seen),
            )
        )
    return found


def _dice(one: Mask, other: Mask) -> float:
    return Overlap(int(one.sum()), int(other.sum()), int((one & other).sum())).dice


def _moved(mask: Mask, steps: Sequence[int]) -> Mask:
    """A mask moved by whole voxels; what leaves the grid is lost."""
    moved = np.zeros_like(mask)
    source, target = [], []
    for n, size in zip(steps, mask.shape, strict=True):
        source.append(slice(max(0, -n), size - max(0, n)))
        target.append(slice(max(0, n), size - max(0, -n)))
    moved[tuple(target)] = mask[tuple(source)]
    return moved
