"""An RTSTRUCT as a LabelMap: voxels whose centres lie within the contours of a structure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medseg.errors import InvalidStructures, MissingPath
from medseg.types import IntArray
from medseg.volume.dicom_contours import Points, fill
from medseg.volume.dicom_guard import understood
from medseg.volume.dicom_slices import class_name, unreadable
from medseg.volume.geometry import Geometry, lps_to_ras
from medseg.volume.labels import Code, Label
from medseg.volume.remarks import Remark
from medseg.volume.volume import LabelMap, Source

STRUCTURES_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_BESIDE_PLANE = 0.25
"""Largest distance of a contour from the plane of its slice, as a share of the slice distance."""

_NAME_LENGTH = 64


@dataclass(frozen=True, eq=False)
class Structure:
    """One region of interest.

    Attributes:
        label: Its number, name, code and colour.
        contours: Closed contours in LPS millimetres, shape (N, 3) each.
        open_shapes: How many points and open lines there are beside them.
    """

    label: Label
    contours: tuple[npt.NDArray[np.float64], ...]
    open_shapes: int


@dataclass(frozen=True, eq=False)
class StructureSet:
    """What lies in an RTSTRUCT.

    Attributes:
        structures: Its regions of interest.
        series_uid: The series that it was drawn on, or "".
        instance_uids: The images that contours refer to.
    """

    structures: tuple[Structure, ...]
    series_uid: str
    instance_uids: frozenset[str]


def read_structures(path: Path, reference: Geometry, *, structures: Sequence[str] = ()) -> LabelMap:
    """Read an RTSTRUCT onto the grid of the series that it was drawn on.

    A voxel belongs to a structure if its centre lies within an odd number of the structure's
    contours on that slice. Structures of points and open lines alone are left out, with a remark.

    Args:
        path: The file.
        reference: The grid of the series.
        structures: Names of those to take; all where not given.

    Raises:
        MissingPath: If nothing is there.
        UnreadableFile: If the file is no whole DICOM file.
        InvalidStructures: If it is no RTSTRUCT, has no such structure, structures overlap, or
            contours do not lie on the planes of the reference.
    """
    found = read_structure_set(path)
    chosen = _chosen(found.structures, structures, path)
    solid = [one for one in chosen if one.contours or not one.open_shapes]
    largest = max((one.label.value for one in solid), default=0)
    array = np.zeros(reference.grid_size, dtype=np.min_scalar_type(largest))
    for one in solid:
        _paint(array, one, solid, reference, path)
    remarks = tuple(
        Remark(code="left-out", text=f"{one.label.name} is of points or open lines: left out.")
        for one in chosen
        if one not in solid
    )
    labels = tuple(one.label for one in solid)
    return LabelMap(array, reference, labels, Source((path,), "dicom", "RTSTRUCT", remarks))


def is_structure_set(path: Path) -> bool:
    """Whether a file is an RTSTRUCT."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(header.get("SOPClassUID", "")) == STRUCTURES_CLASS
    except Exception:  # whatever it is, it is no RTSTRUCT that could be read
        return False


def read_structure_set(path: Path) -> StructureSet:
    """Read names and contours.

    Raises:
        MissingPath: If nothing is there.
        UnreadableFile: If the file is no whole DICOM file.
        InvalidStructures: If it is no RTSTRUCT.
    """
    if not path.exists():
        raise MissingPath("An RTSTRUCT must be there.", received=str(path), cure="Check the path.")
    with understood(partial(unreadable, path)):
        dataset = pydicom.dcmread(path)
    with understood(partial(_invalid, path)):
        if str(dataset.get("SOPClassUID", "")) != STRUCTURES_CLASS:
            raise _invalid(path, class_name(str(dataset.get("SOPClassUID", ""))))
        return _parse(dataset)


def _parse(dataset: Any) -> StructureSet:
    shapes = {
        int(item.ReferencedROINumber): item.get("ContourSequence") or []
        for item in dataset.get("ROIContourSequence") or []
    }
    colours = {
        int(item.ReferencedROINumber): item.get("ROIDisplayColor")
        for item in dataset.get("ROIContourSequence") or []
    }
    codes = {
        int(item.ReferencedROINumber): (item.get("RTROIIdentificationCodeSequence") or [None])[0]
        for item in dataset.get("RTROIObservationsSequence") or []
    }
    taken: set[str] = set()
    structures = []
    for value, roi in enumerate(dataset.StructureSetROISequence, start=1):
        number = int(roi.ROINumber)
        label = Label(
            value=value,
            name=_unique(str(roi.get("ROIName") or f"roi_{number}"), taken),
            kind=_code(codes.get(number)),
            colour=_colour(colours.get(number)),
        )
        items = shapes.get(number, [])
        closed = [item for item in items if item.ContourGeometricType in _CLOSED]
        contours = {
            points.tobytes(): points for points in map(_points, closed)
        }  # the same contour twice would undo itself
        structures.append(Structure(label, tuple(contours.values()), len(items) - len(closed)))
    instances = frozenset(
        str(image.ReferencedSOPInstanceUID)
        for items in shapes.values()
        for item in items
        for image in item.get("ContourImageSequence") or []
    )
    return StructureSet(tuple(structures), _series_uid(dataset), instances)


def _points(item: Any) -> npt.NDArray[np.float64]:
    """Coordinates of one contour, shape (N, 3): from their text, which is fast."""
    value = item.get_item("ContourData").value
    if isinstance(value, bytes):
        value = value.decode("ascii").strip("\0 ").split("\\")
    return np.array(value, dtype=np.float64).reshape(-1, 3)


def _series_uid(dataset: Any) -> str:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return str(series.SeriesInstanceUID)
    return ""


def _unique(name: str, taken: set[str]) -> str:
    """A name of at most 64 characters that no structure before it has."""
    name = name.strip()[:_NAME_LENGTH] or "roi"
    unique, n = name, 2
    while unique in taken:
        unique, n = f"{name[: _NAME_LENGTH - 4]}-{n}", n + 1
    taken.add(unique)
    return unique


def _code(item: Any) -> Code | None:
    if item is None or not item.get("CodeValue"):
        return None
    return Code(
        value=str(item.CodeValue),
        scheme=str(item.get("CodingSchemeDesignator") or ""),
        meaning=str(item.get("CodeMeaning") or ""),
    )


def _colour(values: Any) -> str | None:
    if values is None or len(values) != 3:
        return None
    return "#" + "".join(f"{min(max(int(x), 0), 255):02x}" for x in values)


def _chosen(found: Sequence[Structure], names: Sequence[str], path: Path) -> tuple[Structure, ...]:
    known = {one.label.name: one for one in found}
    missing = [name for name in names if name not in known]
    if missing:
        raise InvalidStructures(
            f"{path} must hold the structures that were chosen.",
            received=f"no {', '.join(missing)} among {', '.join(known) or 'none'}",
            cure="Look up the names: medseg info FILE.",
        )
    return tuple(one for one in found if not names or one.label.name in names)


def _paint(
    array: IntArray,
    one: Structure,
    others: Sequence[Structure],
    reference: Geometry,
    path: Path,
) -> None:
    """Fill one structure slice by slice, in place; where another one is already is refused."""
    i, j, _ = reference.grid_size
    for k, rings in _by_plane(one, reference, path).items():
        mask, plane = fill(rings, (i, j)), array[:, :, k]
        before = plane[mask]
        if before.any():
            other = next(x for x in others if x.label.value == int(before[before > 0][0]))
            raise InvalidStructures(
                "A label map holds one structure in each voxel.",
                received=f"{one.label.name} and {other.label.name}, which overlap, in {path.name}",
                cure="Take one of them: --structure NAME.",
            )
        plane[mask] = one.label.value


def _by_plane(one: Structure, reference: Geometry, path: Path) -> dict[int, list[Points]]:
    planes = defaultdict[int, list[Points]](list)
    for contour in one.contours:
        index = np.asarray(reference.world_to_index(lps_to_ras(contour)), np.float64)
        k = int(np.rint(index[:, 2].mean()))
        if np.abs(index[:, 2] - k).max() > _BESIDE_PLANE and reference.grid_size[2] > 1:
            raise InvalidStructures(
                "Contours lie on the slices of the series that they were drawn on.",
                received=f"one of {one.label.name} at k = {index[:, 2].min():.2f} to "
                f"{index[:, 2].max():.2f} in {path.name}",
                cure="Give that series: --reference SERIES.",
            )
        if not 0 <= k < reference.grid_size[2]:
            raise InvalidStructures(
                "All contours lie within the series that they were drawn on.",
                received=f"one of {one.label.name} at k = {k} of {reference.grid_size[2]} slices",
                cure="Give the whole series: --reference SERIES.",
            )
        planes[k].append(index[:, :2])
    return planes


def _invalid(path: Path, received: str) -> InvalidStructures:
    return InvalidStructures(
        f"{path} must be an RTSTRUCT with closed contours.",
        received=" ".join(received.split())[:200],
        cure="Export the structure set again.",
    )
