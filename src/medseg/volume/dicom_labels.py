"""DICOM files that hold labels, a DICOM-SEG or an RTSTRUCT, and the series that they belong to."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pydicom

from medseg.errors import InvalidStructures, MedsegError
from medseg.volume.dicom import Series, find_series, read_series_geometry
from medseg.volume.dicom_guard import understood
from medseg.volume.dicom_rtstruct_read import (
    is_structure_set,
    read_structure_set,
    read_structures,
)
from medseg.volume.dicom_seg import read_segmentation, segment_labels
from medseg.volume.dicom_seg_frames import is_segmentation
from medseg.volume.dicom_slices import unreadable
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Labels
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap


def is_dicom_labels(path: Path) -> bool:
    """Whether a file is a DICOM-SEG or an RTSTRUCT."""
    return path.is_file() and (is_segmentation(path) or is_structure_set(path))


def read_dicom_labels(
    path: Path, *, reference: Geometry | None = None, structures: Sequence[str] = ()
) -> LabelMap:
    """Read a DICOM-SEG or an RTSTRUCT.

    Args:
        path: The file.
        reference: The grid of the series that an RTSTRUCT was drawn on; where not given, the
            series is looked for beside the file. A DICOM-SEG comes on its own grid, that of its
            frames.
        structures: Names of those to take; all where not given.

    Raises:
        UnreadableFile: If the file is no whole DICOM file.
        InvalidSegmentation: If a DICOM-SEG makes no label map.
        InvalidStructures: If an RTSTRUCT makes no label map, or its series is not found.
    """
    if is_segmentation(path):
        return read_segmentation(path, structures=structures)
    if reference is None:
        series = find_referenced(path)
        if series is None:
            raise InvalidStructures(
                "An RTSTRUCT becomes voxels on the series that it was drawn on.",
                received=f"no such series beside {path}",
                cure="Name its folder: --reference SERIES.",
            )
        reference = read_series_geometry(series)
    return read_structures(path, reference, structures=structures)


def read_labels_on(path: Path, grid: Geometry | None) -> LabelMap:
    """Read a DICOM-SEG or an RTSTRUCT onto a grid that has its voxels.

    Args:
        path: The file.
        grid: The grid; where not given, that of the frames of a DICOM-SEG, or of the series beside
            an RTSTRUCT.

    Raises:
        DifferentSpace: If the voxels of a DICOM-SEG are others.
        InvalidSegmentation: If a DICOM-SEG makes no label map.
        InvalidStructures: If contours do not lie on the slices of the grid.
    """
    label_map = read_dicom_labels(path, reference=grid)
    return label_map if grid is None else place(label_map, grid)


def described_labels(path: Path) -> Labels:
    """The structures that a DICOM-SEG or RTSTRUCT describes; of the latter, those with an area.

    Raises:
        UnreadableFile: If the file is no whole DICOM file.
        InvalidSegmentation: If a DICOM-SEG cannot be understood.
        InvalidStructures: If an RTSTRUCT cannot be understood.
    """
    if is_segmentation(path):
        return segment_labels(path)
    found = read_structure_set(path).structures
    return tuple(one.label for one in found if one.contours or not one.open_shapes)


def referenced_uids(path: Path) -> tuple[str, frozenset[str]]:
    """SeriesInstanceUID ("" if not stated) and SOPInstanceUIDs that a SEG or RTSTRUCT refers to.

    Raises:
        UnreadableFile: If the file is no whole DICOM file.
        InvalidStructures: If an RTSTRUCT cannot be understood.
    """
    if is_structure_set(path):
        found = read_structure_set(path)
        return found.series_uid, found.instance_uids
    with understood(partial(unreadable, path)):
        header = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["ReferencedSeriesSequence"]
        )
        for item in header.get("ReferencedSeriesSequence") or []:
            instances = item.get("ReferencedInstanceSequence") or []
            uids = frozenset(str(one.ReferencedSOPInstanceUID) for one in instances)
            return str(item.get("SeriesInstanceUID") or ""), uids
    return "", frozenset()


def choose_referenced(path: Path, every: Sequence[Series]) -> Series | None:
    """The series that a SEG or RTSTRUCT belongs to, by its identifier or by those of its images."""
    uid, instances = referenced_uids(path)
    for series in every:
        if series.uid == uid:
            return series
    for series in every:
        if instances & {one.sop_instance_uid for one in series.slices}:
            return series
    return None


def find_referenced(path: Path) -> Series | None:
    """Look for the series in the file's own folder and below it, then one folder further up."""
    for folder in (path.parent, path.parent.parent):
        try:
            series = choose_referenced(path, find_series(folder))
        except MedsegError:
            series = None
        if series is not None:
            return series
    return None
