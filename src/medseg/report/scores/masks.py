"""The two masks of a case on one grid, or a sentence that says why they are not."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import DifferentSpace, LabelError
from medseg.report.scores.pairs import Pair
from medseg.types import AnyArray
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map
from medseg.volume.labels import Label, Labels
from medseg.volume.volume import LabelMap

if TYPE_CHECKING:
    from medseg.dataset.description import DatasetDescription

_LISTED = 8


@dataclass(frozen=True, eq=False)
class Masks:
    """What is compared in a case.

    Attributes:
        predicted: The prediction on the grid of the reference, or None where there is none.
        reference: The reference.
        resampled: Whether the prediction had another grid.
    """

    predicted: LabelMap | None
    reference: LabelMap
    resampled: bool = False

    @property
    def all(self) -> list[LabelMap]:
        """Those that there are, the prediction first."""
        return [self.reference] if self.predicted is None else [self.predicted, self.reference]


def read_masks(pair: Pair, labels: Labels | None) -> Masks:
    """Read both masks with the values that are in the files, each called `label_<value>`.

    Where the reference holds the pair's ignored value, both become background. A prediction may
    have its axes in another order than its reference. One on another grid is resampled by a vote if
    the pair says so.

    Args:
        pair: The files.
        labels: Which value each segment of a DICOM-SEG has, by its name; otherwise its number.

    Raises:
        DifferentSpace: If the masks lie on different grids, or apart.
        LabelError: If one holds fractions, or a DICOM-SEG a name that is not known.
        FileError: If one cannot be read.
    """
    masks = _read_both(pair, labels)
    return masks if pair.ignored_value is None else _where_judged(masks, pair.ignored_value)


def _read_both(pair: Pair, labels: Labels | None) -> Masks:
    reference = _read_mask(pair.reference, labels, None)
    if pair.predicted is None:
        return Masks(None, reference)
    predicted = _read_mask(pair.predicted, labels, reference.geometry)
    if predicted.geometry.same_space(reference.geometry):
        return Masks(predicted, reference)
    turned = predicted.reoriented(reference.geometry.orientation)
    if turned.geometry.same_space(reference.geometry):
        return Masks(turned, reference)
    if not pair.resample:
        raise _different(turned.geometry, reference.geometry, pair.case)
    _require_overlap(predicted.geometry, reference.geometry, pair.case)
    from medseg.space.resample import resample_labels

    return Masks(resample_labels(predicted, reference.geometry), reference, resampled=True)


def _where_judged(masks: Masks, ignored_value: int) -> Masks:
    """The same masks with background where the reference holds this value."""
    ignored = masks.reference.array == ignored_value

    def one(mask: LabelMap) -> LabelMap:
        kept = tuple(label for label in mask.labels if label.value != ignored_value)
        array = np.where(ignored | (mask.array == ignored_value), 0, mask.array)
        return LabelMap(array.astype(mask.array.dtype), mask.geometry, kept, mask.source)

    predicted = None if masks.predicted is None else one(masks.predicted)
    return replace(masks, predicted=predicted, reference=one(masks.reference))


def read_pair(
    pair: Pair, dataset: "DatasetDescription | None", labels: Labels | None
) -> tuple[LabelMap | None, LabelMap]:
    """The prediction, on the grid of the reference, and the reference, as they are scored.

    Args:
        pair: The files.
        dataset: The data set that the references are, which names the values.
        labels: Other names; values without a name are called `label_<value>`.

    Raises:
        DifferentSpace: If they lie on different grids.
        LabelError: If one holds fractions.
        FileError: If one cannot be read.
    """
    named = labels or (dataset.labels if dataset is not None else ())
    masks = as_one_label(read_masks(pair, named or None), pair.objects_of)
    predicted = None if masks.predicted is None else _named(masks.predicted, named)
    return predicted, _named(masks.reference, named)


def as_one_label(masks: Masks, value: int | None) -> Masks:
    """Masks whose values number objects as masks of one label; others as they are.

    Args:
        masks: The masks.
        value: The value that all objects get, or None where values are labels.
    """
    if value is None:
        return masks
    label = Label(value=value, name=f"label_{value}")

    def one(objects: LabelMap) -> LabelMap:
        array = np.where(objects.array > 0, value, 0).astype(np.min_scalar_type(value))
        return LabelMap(array, objects.geometry, (label,), objects.source)

    predicted = None if masks.predicted is None else one(masks.predicted)
    return replace(masks, predicted=predicted, reference=one(masks.reference))


def require_known(masks: Masks, values: Collection[int], labels: Labels, case: str) -> None:
    """Pass if every value in both masks is known.

    Args:
        masks: The masks.
        values: The values that have a name, or are part of a region.
        labels: Their names, for the message.
        case: Name of the case, for the message.

    Raises:
        LabelError: If a mask holds another value; the message says which mask.
    """
    for role, mask in (("prediction", masks.predicted), ("reference", masks.reference)):
        unknown = [] if mask is None else [x.value for x in mask.labels if x.value not in values]
        if unknown:
            shown = ", ".join(map(str, unknown[:_LISTED]))
            more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
            known = ", ".join(f"{x.value} {x.name}" for x in labels[:_LISTED])
            raise LabelError(
                "Each value of a mask is one that the labels know; 0 is background.",
                received=f"values {shown}{more} in the {role} of case {case}; known are "
                f"{known or 'those of regions'}",
                cure="Name them with --labels, or repair the mask.",
            )


def _named(mask: LabelMap, labels: Labels) -> LabelMap:
    names = {label.value: label for label in labels}
    found = tuple(names.get(label.value, label) for label in mask.labels)
    if len({label.name for label in found}) < len(found):
        return mask
    return LabelMap(mask.array, mask.geometry, found, mask.source)


def _read_mask(path: Path, labels: Labels | None, reference: Geometry | None) -> LabelMap:
    if path.suffix.lower() != ".dcm":
        return read_label_map(path)
    from medseg.volume.dicom_labels import read_labels_on

    label_map = read_labels_on(path, reference)
    return label_map if labels is None else _renumbered(label_map, labels, path)


def _renumbered(label_map: LabelMap, labels: Labels, path: Path) -> LabelMap:
    """A DICOM-SEG numbers its segments from 1: its names say which values they are here."""
    value_of = {label.name: label.value for label in labels}
    value_of |= {label.name.casefold(): label.value for label in labels}
    lookup = np.zeros(int(label_map.array.max(initial=0)) + 1, np.uint16)
    present = {int(v) for v in np.unique(label_map.array)} - {0}
    for label in label_map.labels:
        value = value_of.get(label.name, value_of.get(label.name.casefold()))
        if label.value in present and value is None:
            raise LabelError(
                "Each segment has the name of a label.",
                received=f"{label.name!r} in {path.name}, "
                f"labels {', '.join(known.name for known in labels)}",
                cure="Name the segments and values with --labels.",
            )
        if value is not None and label.value < lookup.size:
            lookup[label.value] = value
    array: AnyArray = lookup[label_map.array]
    found = {int(value) for value in np.unique(lookup)} - {0}
    kept = tuple(label for label in labels if label.value in found)
    return LabelMap(array, label_map.geometry, kept, label_map.source)


def _different(predicted: Geometry, reference: Geometry, case: str) -> DifferentSpace:
    return DifferentSpace(
        f"One grid must hold reference and prediction of case {case}.",
        received=f"prediction {_grid(predicted)}, reference {_grid(reference)}, corners up to "
        f"{_apart_mm(predicted, reference):.3g} mm apart",
        cure="Pass --resample to bring predictions onto the grids of their references, by a vote.",
    )


def _require_overlap(predicted: Geometry, reference: Geometry, case: str) -> None:
    """Refuse to resample what lies elsewhere: an empty mask would come of it."""
    index = reference.world_to_index(predicted.corners_mm())
    outside = (index.max(axis=0) < -0.5) | (index.min(axis=0) > np.array(reference.grid_size) - 0.5)
    if outside.any():
        raise DifferentSpace(
            f"Reference and prediction of case {case} show the same part of a patient.",
            received=f"prediction {_grid(predicted)}, reference {_grid(reference)}, with no place "
            f"in common, corners up to {_apart_mm(predicted, reference):.3g} mm apart",
            cure="Check that the names of both files stand for the same scan.",
        )


def _apart_mm(one: Geometry, other: Geometry) -> float:
    """Largest distance between corresponding corners, of grids of any size."""
    return float(np.linalg.norm(one.corners_mm() - other.corners_mm(), axis=1).max())


def _grid(geometry: Geometry) -> str:
    size = " x ".join(str(n) for n in geometry.grid_size)
    spacing = " x ".join(f"{step:.4g}" for step in geometry.spacing_mm)
    return f"{size} voxels of {spacing} mm"
