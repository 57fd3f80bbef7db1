"""The masks of a cine loop as one DICOM-SEG, whose frames refer to the frames of the loop."""

import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import highdicom as hd
import numpy as np
import pydicom
from highdicom.seg import SegmentationTypeValues
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medseg.errors import InvalidSegmentation
from medseg.files import atomic_file
from medseg.types import IntArray
from medseg.volume.dicom_seg import describe_segments, made_by
from medseg.volume.dicom_source import source_header
from medseg.volume.labels import Labels

_SEGMENT_NUMBER, _SEGMENT_GROUP = 0x0062000B, 0x0062000A
_TEMPORAL_POSITION, _FRAME_CONTENT = 0x00209128, 0x00209111


class CineSegmentation:
    """Collects masks and writes the file when the block ends well; after an error it writes none.

    A BINARY segmentation without a place in the patient: its frames are told by segment and by the
    number of the loop's frame. Frames in which a segment is not there are left out; a loop in which
    nothing was found keeps one empty frame. One bit is held for each pixel of each frame.

    Args:
        path: Where the file shall be.
        source: The multi-frame file that was segmented.
        labels: The structures; the n-th is segment n.
        algorithm: Name of what made the masks.
        version: Its version.

    Raises:
        InvalidSegmentation: If there is no label, or the file lacks what a SEG must refer to.
    """

    def __init__(
        self, path: Path, source: Path, labels: Labels, *, algorithm: str, version: str
    ) -> None:
        if not labels:
            raise InvalidSegmentation(
                "A DICOM-SEG holds at least one segment.",
                received="a bundle without labels",
                cure="Choose a bundle that looks for structures.",
            )
        self._path, self._labels = path, labels
        self._made_by = (algorithm, version)
        self._header = source_header(source)
        self._size = (int(self._header.Rows), int(self._header.Columns))
        self._frames: list[tuple[int, int]] = []
        self._packed, self._rest = bytearray(), np.zeros(0, np.bool_)

    def __enter__(self) -> Self:
        return self

    def add(self, mask: IntArray, number: int) -> None:
        """Keep a mask.

        Args:
            mask: Label values, shape (rows, columns).
            number: Which frame of the loop it belongs to, from 1.
        """
        for segment, label in enumerate(self._labels, start=1):
            there = mask == label.value
            if there.any():
                self._keep(there, segment, number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the file."""
        if error is not None:
            return
        is_empty = not self._frames
        if is_empty:
            self._keep(np.zeros(self._size, np.bool_), 1, 1)
        segmentation = self._segmentation(is_empty)
        with atomic_file(self._path) as temporary:
            segmentation.save_as(temporary)

    def _keep(self, there: Any, segment: int, number: int) -> None:
        """Append bits; frames follow each other without a gap (PS3.5, 8.1.1)."""
        bits = np.concatenate([self._rest, there.ravel()])
        whole = len(bits) // 8 * 8
        self._packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        self._rest = bits[whole:]
        self._frames.append((segment, number))

    def _segmentation(self, is_empty: bool) -> Any:
        """All modules by highdicom, for one image without a place; then our frames in it."""
        algorithm, version = self._made_by
        single = copy.deepcopy(self._header)
        single.SOPClassUID = SecondaryCaptureImageStorage
        for keyword in ("NumberOfFrames", "FrameOfReferenceUID"):
            if keyword in single:
                delattr(single, keyword)
        what = "Nothing found in" if is_empty else "Segmentation of"
        try:
            made = hd.seg.Segmentation(
                source_images=[single],
                pixel_array=np.zeros(self._size, np.uint8),
                segmentation_type=SegmentationTypeValues.BINARY,
                segment_descriptions=describe_segments(self._labels, algorithm, version),
                **made_by(algorithm, version),
                content_description=f"{what} {self._header.get('Modality') or 'frames'}",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=False,
            )
            self._refer(made)
            self._fill(made)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise InvalidSegmentation(
                "A DICOM-SEG can be made for images that keep to the standard.",
                received=" ".join(str(error).split())[:200],
                cure="Export the loop again, or write masks to a folder.",
            ) from error
        return made

    def _refer(self, made: Any) -> None:
        """Name the loop by its own kind of object, and say what its compression lost."""
        own = self._header.SOPClassUID
        for series in made.ReferencedSeriesSequence:
            for instance in series.ReferencedInstanceSequence:
                instance.ReferencedSOPClassUID = own
        for instance in made.get("SourceImageSequence") or ():
            instance.ReferencedSOPClassUID = own
        made.PatientOrientation = self._header.get("PatientOrientation")
        if self._header.get("LossyImageCompression") == "01":
            for keyword in ("", "Ratio", "Method"):
                value = self._header.get(f"LossyImageCompression{keyword}")
                if value is not None:
                    setattr(made, f"LossyImageCompression{keyword}", value)

    def _fill(self, made: Any) -> None:
        template = made.PerFrameFunctionalGroupsSequence[0]
        first = made.DimensionIndexSequence[0]
        if "SegmentIdentificationSequence" in made.SharedFunctionalGroupsSequence[0]:
            del made.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence
        time = pydicom.Dataset()
        time.DimensionOrganizationUID = first.DimensionOrganizationUID
        time.DimensionIndexPointer = _TEMPORAL_POSITION
        time.FunctionalGroupPointer = _FRAME_CONTENT
        time.DimensionDescriptionLabel = "Temporal Position Index"
        first.DimensionIndexPointer, first.FunctionalGroupPointer = _SEGMENT_NUMBER, _SEGMENT_GROUP
        made.DimensionIndexSequence = [first, time]
        made.PerFrameFunctionalGroupsSequence = [
            _group(template, self._header.SOPClassUID, segment, number)
            for segment, number in self._frames
        ]
        made.NumberOfFrames = len(self._frames)
        last = np.packbits(self._rest, bitorder="little").tobytes()
        stored = bytes(self._packed) + last
        made.PixelData = stored + b"\0" * (len(stored) % 2)


def _group(template: Any, sop_class: str, segment: int, number: int) -> Any:
    """What is said about one frame."""
    group = copy.deepcopy(template)
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPClassUID = sop_class
    source.ReferencedFrameNumber = number
    group.FrameContentSequence[0].DimensionIndexValues = [segment, number]
    group.FrameContentSequence[0].TemporalPositionIndex = number
    identified = pydicom.Dataset()
    identified.ReferencedSegmentNumber = segment
    group.SegmentIdentificationSequence = [identified]
    return group
