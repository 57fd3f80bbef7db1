"""Slices become a stack, by geometry alone, or are refused with the reason.

The order of slices is that of their positions along the normal of their plane; file names, instance
numbers and slice thickness play no part in it. A stack is only made where an affine tells the truth
about each slice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import MissingGeometry, MixedSeries, UndecodablePixels
from medseg.volume.dicom_copies import drop_copies
from medseg.volume.dicom_slices import Slice
from medseg.volume.dicom_spacing import planes_of
from medseg.volume.dicom_tilt import Tilt, find_tilt
from medseg.volume.geometry import Geometry, LpsFrame
from medseg.volume.remarks import Remark

DIRECTION_TOLERANCE = 1e-3
"""Largest difference between the direction cosines of two slices of one stack."""

_CURE_ONE_SERIES = "Put the slices of one acquisition in a folder of their own."


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order, and the upright grid that they make.

    Attributes:
        slices: Those that are there, in the order of K.
        planes: The plane k of the grid that each lies on.
        tilt: How far each is shifted within its plane.
        geometry: The grid.
        remarks: What had to be done to the slices to make it.
    """

    slices: tuple[Slice, ...]
    planes: tuple[int, ...]
    tilt: Tilt
    geometry: Geometry
    remarks: tuple[Remark, ...] = ()


def stack_slices(slices: Sequence[Slice], *, allow_gaps: bool = False) -> Stack:
    """Order slices by position and find their grid.

    Args:
        slices: At least one image of one series, in any order.
        allow_gaps: Whether slices may be missing between others.

    Raises:
        MixedSeries: If there are localizers, or sizes, orientations, pixel spacings or frames of
            reference differ.
        MissingGeometry: If an image has no valid position, orientation or pixel spacing.
        ConflictingFiles: If two images of one identifier differ.
        DuplicateSlices: If two different images lie at one position.
        TiltedSeries: If slices are shifted along their own plane as no gantry shifts them.
        MissingSlice: If there is a gap of whole slices that is not allowed.
        UnevenSlices: If slice distances differ otherwise.
        UndecodablePixels: If the images are in colour, or have a lookup table for their values.
    """
    _require_grey_scans(slices)
    _require_geometry(slices)
    _require_alike(slices)
    i, j = _vectors(slices[0])
    normal = np.cross(i, j)
    along = np.array([_position(one) @ normal for one in slices])
    order = np.argsort(along, kind="stable")
    ordered, remarks = drop_copies([slices[n] for n in order], along[order])
    along = np.array([_position(one) @ normal for one in ordered])
    first = ordered[0]
    spacing, size = first.spacing_mm or (1.0, 1.0), first.size
    relative = np.stack([_position(one) for one in ordered]) - _position(first)
    in_plane = relative @ np.stack([i, j], axis=1)
    tilt = find_tilt(in_plane, along - along[0], spacing_mm=spacing, size=size)
    planes: tuple[int, ...] = (0,)
    step_mm = first.thickness_mm or 1.0
    if len(ordered) > 1:
        planes, step_mm = planes_of(along, allow_gaps=allow_gaps)
    start = _position(first) - tilt.offsets[0] @ (np.stack([i, j]) * np.array(spacing)[:, None])
    frame = LpsFrame(start, np.stack([i, j, normal], axis=1), (*spacing, step_mm))
    return Stack(
        ordered,
        planes,
        tilt,
        Geometry.from_lps(frame, (*tilt.size, planes[-1] + 1)),
        (*remarks, *_remarks(planes, tilt)),
    )


def _remarks(planes: tuple[int, ...], tilt: Tilt) -> list[Remark]:
    missing = [k for k in range(planes[-1]) if k not in set(planes)]
    remarks = []
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        remarks.append(
            Remark(
                code="gaps",
                text=f"{len(missing)} of {planes[-1] + 1} slices are missing and were interpolated "
                f"(k = {shown}).",
            )
        )
    if tilt.degrees:
        text = f"Slices of a gantry tilted by {tilt.degrees:.1f} degrees were put upright."
        remarks.append(Remark(code="tilt", text=text))
    return remarks


def sort_if_placed(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """Order by position where all have one, else by file and frame; refuses nothing."""
    first = slices[0].directions
    if first is None or any(one.position_mm is None for one in slices):
        return tuple(sorted(slices, key=lambda one: (str(one.path), one.frame)))
    normal = np.cross(*first)
    return tuple(sorted(slices, key=lambda one: float(_position(one) @ normal)))


def is_localizer(one: Slice) -> bool:
    """Whether this is a scout image, from which other series were planned."""
    return "LOCALIZER" in one.image_type


def _require_grey_scans(slices: Sequence[Slice]) -> None:
    scouts = [one for one in slices if is_localizer(one)]
    if scouts:
        raise MixedSeries(
            "A volume is made of parallel slices, not of localizers.",
            received=f"{len(scouts)} localizers among {len(slices)} images ({_name(scouts[0])})",
            cure=_CURE_ONE_SERIES,
        )
    for one in slices:
        if one.samples != 1 or one.has_lut:
            raise UndecodablePixels(
                "A DICOM volume holds one number in each pixel, scaled by slope and intercept.",
                received=f"{'a lookup table' if one.has_lut else 'colours'} in {_name(one)}",
                cure="Convert colours to PNG; export values without a modality lookup table.",
            )


def _require_geometry(slices: Sequence[Slice]) -> None:
    for one in slices:
        lacking = [
            word
            for word, value in (
                ("position", one.position_mm),
                ("orientation", one.directions),
                ("pixel spacing", one.spacing_mm),
            )
            if value is None
        ]
        if one.spacing_mm is not None and min(one.spacing_mm) <= 0:
            lacking.append("positive pixel spacing")
        if lacking:
            raise MissingGeometry(
                "Each slice of a volume says where it lies: position, orientation, pixel spacing.",
                received=f"no valid {', '.join(lacking)} in {_name(one)}",
                cure="Export the original images; projections and screenshots have no place.",
            )


def _require_alike(slices: Sequence[Slice]) -> None:
    first = slices[0]

    def far(a: Any, b: Any, tolerance: float) -> bool:
        return bool(np.abs(np.subtract(a, b)).max() > tolerance)

    checks: list[tuple[str, Callable[[Slice], Any], Callable[[Slice], bool]]] = [
        ("size", lambda s: f"{s.size[0]} x {s.size[1]}", lambda s: s.size != first.size),
        (
            "frame of reference",
            lambda s: s.frame_of_reference or "none",
            lambda s: s.frame_of_reference != first.frame_of_reference,
        ),
        (
            "orientation",
            lambda s: np.round(_vectors(s).ravel(), 3).tolist(),
            lambda s: far(_vectors(s), _vectors(first), DIRECTION_TOLERANCE),
        ),
        (
            "pixel spacing",
            lambda s: f"{s.spacing_mm} mm",
            lambda s: far(s.spacing_mm, first.spacing_mm, 1e-3 * min(first.spacing_mm or (1,))),
        ),
    ]
    for word, shown, differs in checks:
        other = next((one for one in slices if differs(one)), None)
        if other is not None:
            raise MixedSeries(
                f"All slices of a volume have one {word}.",
                received=f"{shown(first)} in {_name(first)}, {shown(other)} in {_name(other)}",
                cure=_CURE_ONE_SERIES,
            )


def _position(one: Slice) -> npt.NDArray[np.float64]:
    return np.zeros(3) if one.position_mm is None else one.position_mm


def _vectors(one: Slice) -> npt.NDArray[np.float64]:
    return np.eye(3)[:2] if one.directions is None else one.directions


def _name(one: Slice) -> str:
    return one.path.name + (f" (frame {one.frame})" if one.frame else "")
