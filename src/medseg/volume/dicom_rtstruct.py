"""A LabelMap as an RTSTRUCT: contours of each structure on the planes of its series."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medseg.errors import InvalidStructures
from medseg.files import atomic_file
from medseg.types import IntArray
from medseg.volume.dicom import Series, stack_series
from medseg.volume.dicom_contours import Points, trace
from medseg.volume.dicom_slices import Slice
from medseg.volume.dicom_source import (
    require_identity,
    source_headers,
    values_on_slices,
)
from medseg.volume.dicom_stack import Stack
from medseg.volume.labels import Label, Labels, colour_of
from medseg.volume.volume import LabelMap

_SERIES_NUMBER = 9001
_CONTOUR_DATA = Tag("ContourData")
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, and still what a structure set names its study by."""

_COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def write_structures(
    label_map: LabelMap, series: Series, path: Path, *, algorithm: str, version: str
) -> None:
    """Write an RTSTRUCT with a region of interest for each label, also for those without a voxel.

    Contours are closed and planar, halfway between voxels inside and outside; holes are keyholes.

    Args:
        label_map: Values on the series' voxels, in any orientation and extent.
        series: The images that were segmented.
        path: Where the file shall be.
        algorithm: Name of what made the segmentation.
        version: Its version.

    Raises:
        DifferentSpace: If the label map does not lie on the voxels of the series.
        InvalidStructures: If there is no label.
        InvalidSegmentation: If the series lacks identifiers to refer to.
        MissingGeometry: If the series has no frame of reference.
        CannotWrite: If the file cannot be written.
    """
    if not label_map.labels:
        raise InvalidStructures(
            "An RTSTRUCT holds at least one structure.",
            received="a label map without labels",
            cure="Name the structures that were looked for, also where none was found.",
        )
    require_identity(series)
    stack = stack_series(series)
    values = values_on_slices(label_map, stack)
    paths = dict.fromkeys(one.path for one in stack.slices)
    headers = dict(zip(paths, source_headers(stack), strict=True))
    dataset = _head(next(iter(headers.values())), algorithm, version)
    dataset.ReferencedFrameOfReferenceSequence = [_references(list(headers.values()))]
    dataset.StructureSetROISequence = [
        _region(number, label, stack, f"{algorithm} {version}")
        for number, label in enumerate(label_map.labels, start=1)
    ]
    dataset.ROIContourSequence = _all_contours(values, stack, label_map.labels, headers)
    dataset.RTROIObservationsSequence = [
        _observation(number, label) for number, label in enumerate(label_map.labels, start=1)
    ]
    with atomic_file(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _head(source: Any, algorithm: str, version: str) -> Any:
    """Patient, study, equipment and the structure set itself (PS3.3, A.19)."""
    now = datetime.now()
    head = pydicom.Dataset()
    head.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _COPIED:
        if keyword in source:
            setattr(head, keyword, source[keyword].value)
    head.SOPClassUID = RTStructureSetStorage
    head.SOPInstanceUID = generate_uid(prefix=None)
    head.SeriesInstanceUID = generate_uid(prefix=None)
    head.FrameOfReferenceUID = source.FrameOfReferenceUID
    head.PositionReferenceIndicator = source.get("PositionReferenceIndicator")
    head.Modality, head.SeriesNumber, head.InstanceNumber = "RTSTRUCT", _SERIES_NUMBER, 1
    head.OperatorsName = None
    head.SeriesDescription = f"Segmentation by {algorithm}"[:64]
    head.Manufacturer, head.ManufacturerModelName = "medseg", algorithm[:64]
    head.SoftwareVersions = version[:64]
    head.StructureSetLabel, head.StructureSetName = "SEGMENTATION", f"By {algorithm}"[:64]
    head.StructureSetDate = head.SeriesDate = now.strftime("%Y%m%d")
    head.StructureSetTime = head.SeriesTime = now.strftime("%H%M%S")
    head.ApprovalStatus = "UNAPPROVED"
    head.file_meta = FileMetaDataset()
    head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID
    head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID
    head.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # contours may exceed 64 KiB
    return head


def _references(headers: Sequence[Any]) -> Any:
    first = headers[0]
    series = _item(
        SeriesInstanceUID=first.SeriesInstanceUID,
        ContourImageSequence=[_instance(header) for header in headers],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _instance(header: Any, frame: int | None = None) -> Any:
    item = _item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
    )
    if frame is not None:
        item.ReferencedFrameNumber = frame + 1
    return item


def _region(number: int, label: Label, stack: Stack, maker: str) -> Any:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=stack.slices[0].frame_of_reference,
        ROIName=label.name,
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=maker[:64],
    )


def _observation(number: int, label: Label) -> Any:
    item = _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=label.name[:16],
        RTROIInterpretedType=None,
        ROIInterpreter=None,
    )
    if label.kind is not None:
        code = _item(
            CodeValue=label.kind.value,
            CodingSchemeDesignator=label.kind.scheme,
            CodeMeaning=label.kind.meaning,
        )
        item.RTROIIdentificationCodeSequence = [code]
    return item


def _all_contours(
    values: IntArray, stack: Stack, labels: Labels, headers: dict[Path, Any]
) -> list[Any]:
    items = []
    for number, label in enumerate(labels, start=1):
        colour = list(bytes.fromhex(colour_of(labels, label)[1:]))
        item = _item(ROIDisplayColor=colour, ReferencedROINumber=number)
        contours = [
            _contour(ring, one, headers[one.path])
            for one, ring in _rings(values == label.value, stack)
        ]
        if contours:
            item.ContourSequence = contours
        items.append(item)
    return items


def _rings(inside: Any, stack: Stack) -> Iterator[tuple[Slice, Points]]:
    for one, plane in zip(stack.slices, inside, strict=True):
        for ring in trace(plane.T):
            yield one, ring


def _contour(ring: Points, one: Slice, header: Any) -> Any:
    if one.position_mm is None or one.directions is None or one.spacing_mm is None:
        raise InvalidStructures("Contours lie on slices that have a place.", received=one.path.name)
    points = one.position_mm + ring * np.array(one.spacing_mm) @ one.directions
    frame = one.frame if header.get("NumberOfFrames") else None
    item = _item(
        ContourImageSequence=[_instance(header, frame)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
    )
    item[_CONTOUR_DATA] = _decimals(points)
    return item


def _decimals(points: Points) -> RawDataElement:
    """Coordinates as text, to a ten-thousandth of a millimetre; as bytes, for speed."""
    text = "\\".join(f"{x + 0.0:.4f}".rstrip("0").rstrip(".") for x in points.ravel().round(4))
    value = (text + " " * (len(text) % 2)).encode("ascii")
    return RawDataElement(_CONTOUR_DATA, "DS", len(value), value, 0, True, True)


def _item(**attributes: Any) -> Any:
    item = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
