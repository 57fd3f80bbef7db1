"""A LabelMap to DICOM-SEG and back. Written are BINARY segmentations, through highdicom.

DICOM numbers segments 1, 2, 3 ...; a label's own value travels in the segment's description, so
that a label map comes back as it was.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.errors import InvalidSegmentation, LabelError
from medseg.files import atomic_file
from medseg.types import IntArray
from medseg.volume.dicom import Series, stack_series
from medseg.volume.dicom_seg_frames import SegFile, read_seg_file
from medseg.volume.dicom_stack import Stack
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Code, Label, Labels, colour_of, make_labels
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap, Source

DEFAULT_CATEGORY = Code(value="123037004", meaning="Anatomical Structure")
DEFAULT_KIND = Code(value="85756007", meaning="Tissue")
"""What a segment is called in SNOMED CT where its label has no codes."""

_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip

_SERIES_NUMBER = 9000
_VALUE = "Label value {}"


def write_segmentation(
    label_map: LabelMap, series: Series, path: Path, *, algorithm: str, version: str
) -> None:
    """Write a BINARY DICOM-SEG whose frames lie on the planes of the source series.

    Planes without a structure are left out; a label map without any is written with all planes.

    Args:
        label_map: Values on the series' voxels, in any orientation and extent.
        series: The images that were segmented.
        path: Where the file shall be.
        algorithm: Name of what made the segmentation, such as "hippocampus-mr".
        version: Its version.

    Raises:
        DifferentSpace: If the label map does not lie on the voxels of the series.
        InvalidSegmentation: If there is no label, or the series lacks what a SEG must refer to.
        CannotWrite: If the file cannot be written.
    """
    if not label_map.labels:
        raise InvalidSegmentation(
            "A DICOM-SEG holds at least one segment.",
            received="a label map without labels",
            cure="Name the structures that were looked for, also where none was found.",
        )
    stack = stack_series(series)
    planes = _in_source_order(_segment_numbers(place(label_map, stack.geometry)), stack)
    try:
        segmentation = hd.seg.Segmentation(
            source_images=_source_images(stack),
            pixel_array=planes,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=_describe(label_map.labels, algorithm, version),
            series_instance_uid=generate_uid(prefix=None),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer="medseg",
            manufacturer_model_name=algorithm,
            software_versions=version,
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_description=f"Segmentation of {series.description or series.modality}"[:64],
            series_description=f"Segmentation by {algorithm}"[:64],
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=bool(planes.any()),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidSegmentation(
            "A DICOM-SEG can be made for images that keep to the standard.",
            received=" ".join(str(error).split())[:200],
            cure="Export the source series again, or write NIfTI instead.",
        ) from error
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary)


def read_segmentation(path: Path, *, reference: Geometry | None = None) -> LabelMap:
    """Read a BINARY (or LABELMAP) DICOM-SEG.

    Args:
        path: The file.
        reference: The grid to put it on: that of the source series. Where not given, the smallest
            grid that holds all frames.

    Raises:
        UnreadableFile: If the file is no whole DICOM file.
        InvalidSegmentation: If it is no segmentation, is fractional, has overlapping segments, or
            frames that make no grid.
        DifferentSpace: If its voxels are not those of the reference.
    """
    seg = read_seg_file(path)
    labels = _labels_of(seg.segments)
    label_map = LabelMap(_fill(seg, labels), seg.geometry, tuple(labels.values()), _source(path))
    return label_map if reference is None else place(label_map, reference)


def _source(path: Path) -> Source:
    return Source((path,), "dicom", "SEG")


def _segment_numbers(label_map: LabelMap) -> IntArray:
    """Position of each voxel's label among the labels, from 1; 0 is background."""
    table = np.zeros(max(label.value for label in label_map.labels) + 1, dtype=np.uint16)
    for number, label in enumerate(label_map.labels, start=1):
        table[label.value] = number
    small = table.astype(np.uint8) if len(label_map.labels) < 256 else table
    return np.asarray(small[label_map.array])


def _in_source_order(numbers: IntArray, stack: Stack) -> npt.NDArray[Any]:
    """Planes (K, J, I), in the order of frames where the source is one enhanced file."""
    planes = np.ascontiguousarray(numbers.T)
    if len(stack.slices) > 1 and stack.slices[0].path == stack.slices[1].path:
        return planes[np.argsort([one.frame for one in stack.slices])]
    return planes


def _source_images(stack: Stack) -> list[Any]:
    return [_source_image(path) for path in dict.fromkeys(one.path for one in stack.slices)]


def _source_image(path: Path) -> Any:
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
        raise InvalidSegmentation(
            "A DICOM-SEG refers to its source images by their identifiers.",
            received=f"{path.name} without {', '.join(lacking)}",
            cure="Export the series with its identifiers, or write NIfTI instead.",
        )
    return header


def _describe(labels: Labels, algorithm: str, version: str) -> list[SegmentDescription]:
    maker = hd.AlgorithmIdentificationSequence(
        name=algorithm, family=codes.DCM.ArtificialIntelligence, version=version
    )
    described = []
    for number, label in enumerate(labels, start=1):
        red, green, blue = bytes.fromhex(colour_of(labels, label)[1:])
        segment = SegmentDescription(
            segment_number=number,
            segment_label=label.name,
            segmented_property_category=_coded(label.category or DEFAULT_CATEGORY),
            segmented_property_type=_coded(label.kind or DEFAULT_KIND),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=maker,
            tracking_uid=generate_uid(prefix=None),
            tracking_id=label.name,
            display_color=hd.color.CIELabColor.from_rgb(red, green, blue),
        )
        segment.SegmentDescription = _VALUE.format(label.value)
        described.append(segment)
    return described


def _coded(code: Code) -> Any:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _labels_of(segments: Sequence[Any]) -> dict[int, Label]:
    """Labels by segment number; the value is the segment number where no other is described."""
    try:
        labels = {int(segment.SegmentNumber): _label_of(segment) for segment in segments}
        make_labels(labels.values())
    except (LabelError, ValueError, AttributeError, IndexError):
        labels = {
            int(s.SegmentNumber): Label(value=int(s.SegmentNumber), name=f"label_{s.SegmentNumber}")
            for s in segments
        }
    return labels


def _label_of(segment: Any) -> Label:
    described = re.fullmatch(_VALUE.format(r"(\d+)"), str(segment.get("SegmentDescription", "")))
    return Label(
        value=int(described[1]) if described else int(segment.SegmentNumber),
        name=str(segment.SegmentLabel),
        category=_code_of(segment.SegmentedPropertyCategoryCodeSequence[0], DEFAULT_CATEGORY),
        kind=_code_of(segment.SegmentedPropertyTypeCodeSequence[0], DEFAULT_KIND),
        colour=_colour_of(segment),
    )


def _code_of(item: Any, default: Code) -> Code | None:
    code = Code(
        value=str(item.CodeValue),
        scheme=str(item.CodingSchemeDesignator),
        meaning=str(item.CodeMeaning),
    )
    return None if code == default else code


def _colour_of(segment: Any) -> str | None:
    value = segment.get("RecommendedDisplayCIELabValue")
    if value is None:
        return None
    red, green, blue = hd.color.CIELabColor.from_dicom_value(tuple(value)).to_rgb()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _fill(seg: SegFile, labels: dict[int, Label]) -> IntArray:
    """Label values, shape (I, J, K)."""
    largest = max(label.value for label in labels.values())
    columns, rows, count = seg.geometry.grid_size
    planes = np.zeros((count, rows, columns), dtype=np.min_scalar_type(largest))
    for frame in seg.frames:
        mask = seg.pixels(frame)
        plane = planes[frame.k]
        if (plane[mask] != 0).any():
            raise InvalidSegmentation(
                "A label map holds one structure in each voxel.",
                received=f"segments that overlap, {labels[frame.segment].name} among them",
                cure="Save overlapping segments as files of their own.",
            )
        plane[mask] = labels[frame.segment].value
    return planes.transpose(2, 1, 0)
