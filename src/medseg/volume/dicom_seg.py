"""A LabelMap to DICOM-SEG and back, through highdicom: BINARY, or FRACTIONAL or LABELMAP by choice.

DICOM numbers segments 1, 2, 3 ...; a label's own value travels in the segment's description, so
that a label map comes back as it was.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medseg.errors import InvalidSegmentation, LabelError
from medseg.files import atomic_file
from medseg.types import IntArray
from medseg.volume.dicom import Series, stack_series
from medseg.volume.dicom_guard import understood
from medseg.volume.dicom_identity import uid_for
from medseg.volume.dicom_seg_frames import SegFile, invalid_segmentation, read_seg_file
from medseg.volume.dicom_seg_gaps import frames_within, has_inner_gap, keep_frames
from medseg.volume.dicom_source import (
    require_identity,
    source_headers,
    values_on_slices,
)
from medseg.volume.dicom_stack import Stack
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Code, Label, Labels, colour_of, make_labels
from medseg.volume.placing import place
from medseg.volume.volume import LabelMap, Source

DEFAULT_CATEGORY = Code(value="123037004", meaning="Anatomical Structure")
DEFAULT_KIND = Code(value="85756007", meaning="Tissue")
"""What a segment is called in SNOMED CT where its label has no codes."""

NOTHING = "Nothing found: segmentation"
"""How the description of a segmentation without a voxel begins."""

_SERIES_NUMBER = 9000
_VALUE = "Label value {}"


SegType = Literal["binary", "fractional", "labelmap"]
"""How masks are stored: one bit for each voxel and segment; one byte, in 255ths; or one number of
the segment for each voxel (Supplement 243, which older programs do not know)."""


def write_segmentation(
    label_map: LabelMap,
    series: Series,
    path: Path,
    *,
    algorithm: str,
    version: str,
    kind: SegType = "binary",
    identity: str = "",
) -> None:
    """Write a DICOM-SEG whose frames lie on the planes of the source series.

    Planes before and behind a structure are left out; a label map without any structure is written
    with all planes, and says "Nothing found" in its description.

    Args:
        label_map: Values on the series' voxels, in any orientation and extent.
        series: The images that were segmented.
        path: Where the file shall be.
        algorithm: Name of what made the segmentation, such as "hippocampus-mr".
        version: Its version.
        kind: How masks are stored.
        identity: What its UIDs follow from; see `uid_for`.

    Raises:
        DifferentSpace: If the label map does not lie on the voxels of the series.
        InvalidSegmentation: If there is no label, or the series lacks what a SEG must refer to.
        MissingGeometry: If the series has no frame of reference.
        CannotWrite: If the file cannot be written.
    """
    if not label_map.labels:
        raise InvalidSegmentation(
            "A DICOM-SEG holds at least one segment.",
            received="a label map without labels",
            cure="Name the structures that were looked for, also where none was found.",
        )
    require_identity(series)
    stack = stack_series(series)
    numbers = _segment_numbers(values_on_slices(label_map, stack), label_map.labels)
    gaps = kind == "binary" and has_inner_gap(numbers)
    what = f"of {series.description or series.modality}"
    try:
        segmentation = hd.seg.Segmentation(
            source_images=source_headers(stack),
            pixel_array=_in_source_order(numbers, stack),
            segmentation_type=SegmentationTypeValues[kind.upper()],
            segment_descriptions=describe_segments(
                label_map.labels, algorithm, version, identity=identity
            ),
            **made_by(algorithm, version, identity=identity),
            fractional_type=SegmentationFractionalTypeValues.OCCUPANCY,
            content_description=f"{'Segmentation' if numbers.any() else NOTHING} {what}"[:64],
            transfer_syntax_uid=RLELossless if kind == "labelmap" else ExplicitVRLittleEndian,
            omit_empty_frames=bool(numbers.any()) and not gaps,
        )
        if gaps:
            keep_frames(segmentation, _kept(numbers, segmentation, stack))
        _mark_lossy(segmentation, stack)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise InvalidSegmentation(
            "A DICOM-SEG can be made for images that keep to the standard.",
            received=" ".join(str(error).split())[:200],
            cure="Export the source series again, or write NIfTI instead.",
        ) from error
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary)


def made_by(algorithm: str, version: str, *, identity: str = "") -> dict[str, Any]:
    """What every DICOM-SEG of ours says of itself, as highdicom's arguments: a new series.

    Args:
        algorithm: Name of what made the masks.
        version: Its version.
        identity: What its UIDs follow from; see `uid_for`.
    """
    return {
        "series_instance_uid": uid_for(identity, "series"),
        "series_number": _SERIES_NUMBER,
        "series_description": f"Segmentation by {algorithm}"[:64],
        "sop_instance_uid": uid_for(identity, "instance"),
        "instance_number": 1,
        "manufacturer": "medseg",
        "manufacturer_model_name": algorithm,
        "software_versions": version,
        "device_serial_number": "none",
        "content_label": "SEGMENTATION",
    }


def _kept(numbers: IntArray, segmentation: Any, stack: Stack) -> npt.NDArray[np.bool_]:
    """Which frames of a file with all planes of all segments lie within their segment's extent."""
    normal = stack.geometry.to_lps().direction[:, 2]
    along = np.array(
        [one.position_mm @ normal for one in stack.slices if one.position_mm is not None]
    )
    within, kept = frames_within(numbers), []
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        plane = int(np.abs(along - position @ normal).argmin())
        kept.append(segment <= len(within) and bool(within[segment - 1, plane]))
    return np.array(kept)


def _mark_lossy(segmentation: Any, stack: Stack) -> None:
    """A mask of images that were compressed with loss says so (PS3.3, C.7.6.1.1.5)."""
    if not any(one.lossy for one in stack.slices):
        return
    header = pydicom.dcmread(stack.slices[0].path, stop_before_pixels=True, force=True)
    segmentation.LossyImageCompression = "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if header.get(keyword):
            setattr(segmentation, keyword, header[keyword].value)


def read_segmentation(
    path: Path, *, reference: Geometry | None = None, structures: Sequence[str] = ()
) -> LabelMap:
    """Read a DICOM-SEG; of a FRACTIONAL one, the voxels that more than half belong to a segment.

    Args:
        path: The file.
        reference: The grid to put it on: that of the source series. Where not given, the smallest
            grid that holds all frames, sheared where the source's gantry was tilted.
        structures: Names of the segments to take; all where not given.

    Raises:
        UnreadableFile: If the file is no whole DICOM file.
        InvalidSegmentation: If it is no segmentation, has overlapping segments, frames that make
            no grid, or no segment of a name that was asked for.
        DifferentSpace: If its voxels are not those of the reference.
    """
    seg = read_seg_file(path)
    with understood(partial(invalid_segmentation, path)):
        labels = _chosen(_labels_of(seg.segments), structures, path)
        values = _fill(seg, labels)
        label_map = LabelMap(values, seg.geometry, tuple(labels.values()), _source(path))
    return label_map if reference is None else place(label_map, reference)


def segment_labels(path: Path) -> Labels:
    """What the segments of a DICOM-SEG stand for, ordered by value.

    Raises:
        UnreadableFile: If the file is no whole DICOM file.
        InvalidSegmentation: If it is no segmentation.
    """
    with understood(partial(invalid_segmentation, path)):
        return make_labels(_labels_of(read_seg_file(path).segments).values())


def _chosen(labels: dict[int, Label], names: Sequence[str], path: Path) -> dict[int, Label]:
    known = {label.name for label in labels.values()}
    missing = [name for name in names if name not in known]
    if missing:
        raise InvalidSegmentation(
            f"{path} must hold the structures that were chosen.",
            received=f"no {', '.join(missing)} among {', '.join(sorted(known))}",
            cure="Look up the names: medseg info FILE.",
        )
    return {n: label for n, label in labels.items() if not names or label.name in names}


def _source(path: Path) -> Source:
    return Source((path,), "dicom", "SEG")


def _segment_numbers(values: IntArray, labels: Labels) -> IntArray:
    """Position of each voxel's label among the labels, from 1; 0 is background."""
    table = np.zeros(max(label.value for label in labels) + 1, dtype=np.uint16)
    for number, label in enumerate(labels, start=1):
        table[label.value] = number
    small = table.astype(np.uint8) if len(labels) < 256 else table
    return np.asarray(small[values])


def _in_source_order(planes: IntArray, stack: Stack) -> npt.NDArray[Any]:
    """Planes in the order of frames where the source is one enhanced file."""
    if len(stack.slices) > 1 and stack.slices[0].path == stack.slices[1].path:
        return planes[np.argsort([one.frame for one in stack.slices])]
    return planes


def describe_segments(
    labels: Labels, algorithm: str, version: str, *, identity: str = ""
) -> list[SegmentDescription]:
    """What DICOM says about each structure; segment n is the n-th label."""
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
            tracking_uid=uid_for(identity, f"segment {number}"),
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
    numbered = {int(segment.SegmentNumber): segment for segment in segments}
    numbered.pop(0, None)  # the background of a LABELMAP
    try:
        labels = {number: _label_of(segment) for number, segment in numbered.items()}
        make_labels(labels.values())
    except (LabelError, ValueError, AttributeError, IndexError):
        labels = {number: Label(value=number, name=f"label_{number}") for number in numbered}
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
        if frame.segment not in labels:
            continue
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
