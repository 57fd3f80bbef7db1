"""Frames inside a segment that hold nothing of it: kept, so that no reader takes them for a gap."""

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.types import IntArray, Mask


def has_inner_gap(numbers: IntArray) -> bool:
    """Whether a segment has planes, but not all between its first and its last one.

    Args:
        numbers: Segment number of each voxel, 0 for none, in the order of planes, (S, J, I).
    """
    return any(_extent(present) != int(present.sum()) for present in _presence(numbers))


def frames_within(numbers: IntArray) -> Mask:
    """For each segment and plane, whether it lies within the segment's extent.

    Args:
        numbers: As in `has_inner_gap`.

    Returns:
        Shape (number of segments, S).
    """
    presence = _presence(numbers)
    before = np.maximum.accumulate(presence, axis=1)
    after = np.maximum.accumulate(presence[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(before & after)


def keep_frames(segmentation: Any, keep: Mask) -> None:
    """Take frames out of a BINARY segmentation that holds every plane of every segment.

    Args:
        segmentation: The data set, whose frames run segment by segment; changed in place.
        keep: Which frames stay, in the order of the file.
    """
    size = int(segmentation.Rows) * int(segmentation.Columns)
    bits = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    frames = bits[: len(keep) * size].reshape(len(keep), size)[keep]
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    segmentation.PixelData = packed + b"\0" * (len(packed) % 2)
    groups = segmentation.PerFrameFunctionalGroupsSequence
    segmentation.PerFrameFunctionalGroupsSequence = [
        group for group, kept in zip(groups, keep, strict=True) if kept
    ]
    segmentation.NumberOfFrames = int(keep.sum())


def _presence(numbers: IntArray) -> npt.NDArray[np.bool_]:
    count = int(numbers.max())
    found = np.zeros((count + 1, len(numbers)), dtype=np.bool_)
    for plane, values in enumerate(numbers):
        found[:, plane] = np.bincount(values.ravel(), minlength=count + 1) > 0
    return found[1:]


def _extent(present: npt.NDArray[np.bool_]) -> int:
    planes = np.flatnonzero(present)
    return int(planes[-1] - planes[0] + 1) if len(planes) else 0
