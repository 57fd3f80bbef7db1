"""The images that a DICOM mask belongs to: their headers, and the labels on their pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medseg.errors import InvalidSegmentation, MissingGeometry
from medseg.types import AnyArray
from medseg.volume.dicom import Series
from medseg.volume.dicom_stack import Stack
from medseg.volume.dicom_tilt import put_back
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap

_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_NEEDED = ("SOPClassUID", "SOPInstanceUID")


def require_identity(series: Series) -> None:
    """Pass if other DICOM objects can refer to a series and to positions in it.

    Raises:
        InvalidSegmentation: If the series or its study has no identifier.
        MissingGeometry: If the series has no frame of reference.
    """
    names = {"SeriesInstanceUID": series.uid, "StudyInstanceUID": series.study_uid}
    lacking = [name for name, uid in names.items() if not uid]
    if lacking:
        raise _without(series.paths[0], lacking)
    placeless = [one for one in series.slices if not one.frame_of_reference]
    if placeless:
        raise MissingGeometry(
            "A DICOM mask lies in the frame of reference of its series.",
            received=f"no FrameOfReferenceUID in {placeless[0].path.name}",
            cure="Export the series with it, or write NIfTI instead.",
        )


def source_headers(stack: Stack) -> list[Any]:
    """The header of each file of a stack, in the order of its slices, as text in UTF-8.

    Raises:
        InvalidSegmentation: If one lacks an identifier to refer to.
    """
    return [source_header(path) for path in dict.fromkeys(one.path for one in stack.slices)]


def source_header(path: Path) -> Any:
    """A header to refer to: what anonymisation took away and may be unknown is empty again."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, None)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(keyword):
            setattr(header, keyword, header.file_meta.get(f"MediaStorage{keyword}"))
    lacking = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if lacking:
        raise _without(path, lacking)
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def values_on_slices(label_map: LabelMap, stack: Stack) -> npt.NDArray[Any]:
    """Label values on the pixels of the slices that are there, shape (S, J, I).

    Raises:
        DifferentSpace: If the label map does not lie on the grid of the stack.
    """
    upright = place(label_map, stack.geometry).array
    there: AnyArray = upright
    if len(stack.planes) < upright.shape[2]:
        there = upright[:, :, list(stack.planes)]
    return np.ascontiguousarray(put_back(there, stack.tilt, stack.slices[0].size).T)


def _without(path: Path, lacking: Sequence[str]) -> InvalidSegmentation:
    return InvalidSegmentation(
        "A DICOM mask refers to its source images by their identifiers.",
        received=f"{path.name} without {', '.join(lacking)}",
        cure="Export the series with its identifiers, or write NIfTI instead.",
    )
