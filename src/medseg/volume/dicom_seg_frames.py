"""What lies in a DICOM-SEG file: segments, frames with their planes, and bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medseg.errors import InvalidSegmentation, MissingPath
from medseg.types import Mask
from medseg.volume.dicom_guard import understood
from medseg.volume.dicom_slices import (
    class_name,
    flattened,
    numbers_of,
    unit_vectors,
    unreadable,
)
from medseg.volume.dicom_spacing import ROUNDING_MM
from medseg.volume.geometry import Geometry, LpsFrame

_BINARY_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
_LABELMAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"
_TOLERANCE = 0.02
"""Largest way of a frame from its plane, as a share of the distance of planes."""

_CURE = "Ask whoever made it for a BINARY segmentation of one series."


@dataclass(frozen=True)
class Frame:
    """One plane of one segment.

    Attributes:
        number: Which frame of the file, from 0.
        segment: Which segment it shows.
        k: Which plane of the grid it is.
    """

    number: int
    segment: int
    k: int


@dataclass(frozen=True)
class SegFile:
    """A segmentation file.

    Attributes:
        dataset: All of it.
        segments: Items of its SegmentSequence.
        frames: Its planes; in a LABELMAP one for each segment.
        geometry: The smallest grid that holds them all.
    """

    dataset: Any
    segments: Sequence[Any]
    frames: tuple[Frame, ...]
    geometry: Geometry

    def pixels(self, frame: Frame) -> Mask:
        """Where the segment is on this plane, shape (J, I)."""
        columns, rows, _ = self.geometry.grid_size
        if self._values is not None:
            return np.asarray(self._values[frame.number] == frame.segment)
        first = frame.number * rows * columns
        last = first + rows * columns
        packed = np.frombuffer(self.dataset.PixelData, np.uint8)[first // 8 : (last + 7) // 8]
        bits = np.unpackbits(packed, bitorder="little")[first % 8 :][: rows * columns]
        return np.asarray(bits.reshape(rows, columns).astype(np.bool_))

    @cached_property
    def _values(self) -> npt.NDArray[Any] | None:
        """Segment numbers, or None for packed bits; of fractions, those above one half."""
        if self.dataset.BitsAllocated == 1 and not _syntax(self.dataset).is_compressed:
            return None
        values = self.dataset.pixel_array.reshape(-1, self.dataset.Rows, self.dataset.Columns)
        if self.dataset.SOPClassUID == _LABELMAP_CLASS:
            return np.asarray(values)
        own = np.array([frame.segment for frame in self.frames], dtype=np.uint16)
        inside = 2 * values.astype(np.uint16) > int(self.dataset.get("MaximumFractionalValue") or 1)
        return np.asarray(np.where(inside, own[:, None, None], 0))


def read_seg_file(path: Path) -> SegFile:
    """Read a segmentation and find its grid.

    Raises:
        MissingPath: If nothing is there.
        UnreadableFile: If the file is no whole DICOM file.
        InvalidSegmentation: If it is no segmentation of parallel planes.
    """
    if not path.exists():
        raise MissingPath("A DICOM-SEG must be there.", received=str(path), cure="Check the path.")
    with understood(partial(unreadable, path)):
        dataset = pydicom.dcmread(path)
    with understood(partial(invalid_segmentation, path)):
        _require_segmentation(dataset, path)
        return _parse(dataset, path)


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return header.get("SOPClassUID") in (_BINARY_CLASS, _LABELMAP_CLASS)
    except Exception:  # whatever it is, it is no segmentation that could be read
        return False


def _parse(dataset: Any, path: Path) -> SegFile:
    groups = dataset.PerFrameFunctionalGroupsSequence
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    places = [flattened(group, shared) for group in groups]
    planes, geometry = _grid_of(places, (int(dataset.Columns), int(dataset.Rows)), path)
    frames = []
    for number, (group, k) in enumerate(zip(groups, planes, strict=True)):
        for segment in _segments_of(group, shared, dataset):
            frames.append(Frame(number, segment, k))
    _require_pixels(dataset, len(groups), path)
    return SegFile(dataset, dataset.SegmentSequence, tuple(frames), geometry)


def _segments_of(group: Any, shared: Any, dataset: Any) -> list[int]:
    if dataset.SOPClassUID == _LABELMAP_CLASS:
        return [int(s.SegmentNumber) for s in dataset.SegmentSequence if s.SegmentNumber]
    macro = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
    return [int(macro[0].ReferencedSegmentNumber)]


def _grid_of(
    places: Sequence[Any], size: tuple[int, int], path: Path
) -> tuple[list[int], Geometry]:
    """Which plane each frame lies on, and the grid of all planes."""
    positions = [numbers_of(place, "ImagePositionPatient", 3) for place in places]
    directions = [unit_vectors(numbers_of(p, "ImageOrientationPatient", 6)) for p in places]
    spacings = [numbers_of(place, "PixelSpacing", 2) for place in places]
    first, spacing = directions[0], spacings[0]
    if first is None or spacing is None or any(one is None for one in positions):
        raise invalid_segmentation(path, "frames without a position in the patient")
    for direction, own in zip(directions, spacings, strict=True):
        if direction is None or not np.allclose(direction, first, atol=1e-3):
            raise invalid_segmentation(path, "frames that are not parallel")
        if own is None or not np.allclose(own, spacing, rtol=1e-3):
            raise invalid_segmentation(path, "frames of different pixel spacing")
    corners = np.array(positions, dtype=np.float64)
    normal = np.cross(*first)
    along = (corners - corners[0]) @ normal
    shift = corners - corners[0] - np.outer(along, normal)
    shear = shift.T @ along / max(float(along @ along), _TOLERANCE)
    if np.linalg.norm(shift, axis=1).max() <= _TOLERANCE * float(spacing.min()):
        shear = np.zeros(3)
    elif np.linalg.norm(shift - np.outer(along, shear), axis=1).max() > ROUNDING_MM * 2:
        raise invalid_segmentation(path, "frames shifted along their own plane")
    step_mm = _step(along, places[0], path)
    planes = np.rint((along - along.min()) / step_mm).astype(int)
    onwards = normal + shear
    longer = float(np.linalg.norm(onwards))
    frame = LpsFrame(
        corners[along.argmin()],
        np.stack([*first, onwards / longer], axis=1),
        (float(spacing[1]), float(spacing[0]), step_mm * longer),
    )
    return planes.tolist(), Geometry.from_lps(frame, (*size, int(planes.max()) + 1))


def _step(along: npt.NDArray[np.float64], place: Any, path: Path) -> float:
    """Distance of planes: the stated one where all frames lie on it, else the smallest gap."""
    levels = np.unique(np.round(along, 3))
    gaps = np.diff(levels)
    gaps = gaps[gaps > _TOLERANCE]
    stated = float(place.get("SpacingBetweenSlices") or 0.0)
    thickness = float(place.get("SliceThickness") or 0.0)
    if not len(gaps):
        return stated or thickness or 1.0
    for guess in (stated, float(gaps.min())):
        steps = np.rint(np.ptp(levels) / guess) if guess > 0 else 0
        if steps:
            step_mm = float(np.ptp(levels) / steps)
            planes = (levels - levels[0]) / step_mm
            if np.abs(planes - np.rint(planes)).max() <= _TOLERANCE:
                return step_mm
    raise invalid_segmentation(path, f"planes {gaps.min():.3g} to {gaps.max():.3g} mm apart")


def _require_segmentation(dataset: Any, path: Path) -> None:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class not in (_BINARY_CLASS, _LABELMAP_CLASS):
        raise invalid_segmentation(path, class_name(sop_class))
    kind = dataset.get("SegmentationType", "nameless")
    if sop_class == _BINARY_CLASS and kind not in ("BINARY", "FRACTIONAL"):
        raise invalid_segmentation(path, f"a {kind} segmentation")


def _require_pixels(dataset: Any, count: int, path: Path) -> None:
    """All frames are there; the sum of compressed ones shows when they are decoded."""
    if int(dataset.get("NumberOfFrames") or 1) != count:
        stated = dataset.get("NumberOfFrames") or 1
        raise invalid_segmentation(path, f"{stated} frames of pixels, {count} planes to place")
    if dataset.BitsAllocated == 1 and not _syntax(dataset).is_compressed:
        expected = (count * int(dataset.Rows) * int(dataset.Columns) + 7) // 8
        if len(dataset.PixelData) < expected:
            raise invalid_segmentation(
                path, f"{len(dataset.PixelData)} bytes of pixels of {expected}"
            )


def _syntax(dataset: Any) -> Any:
    return dataset.file_meta.TransferSyntaxUID


def invalid_segmentation(path: Path, received: str) -> InvalidSegmentation:
    """The error for a file that makes no label map."""
    return InvalidSegmentation(
        f"{path} must be a DICOM-SEG on parallel planes.",
        received=" ".join(received.split())[:200],
        cure=_CURE,
    )
