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

from medseg.errors import (
    DuplicateSlices,
    MissingGeometry,
    MissingSlice,
    MixedSeries,
    TiltedSeries,
    UndecodablePixels,
    UnevenSlices,
)
from medseg.volume.dicom_slices import Slice
from medseg.volume.geometry import Geometry, LpsFrame

GAP_TOLERANCE = 0.02
"""Largest share by which one slice distance may differ from their mean."""

ROUNDING_MM = 0.011
"""Positions are often written with two decimals: a difference of this much is none."""

DRIFT_TOLERANCE = 0.05
"""Largest way of a slice from its place on the even grid, as a share of the slice distance."""

SHEAR_TOLERANCE = 1e-3
"""Largest shift in the plane for each millimetre along the normal: 0.06 degrees of tilt."""

DIRECTION_TOLERANCE = 1e-3
"""Largest difference between the direction cosines of two slices of one stack."""

_CURE_ONE_SERIES = "Put the slices of one acquisition in a folder of their own."


@dataclass(frozen=True)
class Stack:
    """Slices in the order of K, and the grid that they make."""

    slices: tuple[Slice, ...]
    geometry: Geometry


def stack_slices(slices: Sequence[Slice]) -> Stack:
    """Order slices by position and find their geometry.

    Args:
        slices: At least one image of one series, in any order.

    Raises:
        MixedSeries: If there are localizers, or sizes, orientations, pixel spacings or frames of
            reference differ.
        MissingGeometry: If an image has no valid position, orientation or pixel spacing.
        DuplicateSlices: If two slices lie at one position.
        TiltedSeries: If slices are shifted along their own plane.
        MissingSlice: If there is a gap of whole slices.
        UnevenSlices: If slice distances differ otherwise.
        UndecodablePixels: If the images are in colour, or have a lookup table for their values.
    """
    _require_grey_scans(slices)
    _require_geometry(slices)
    _require_alike(slices)
    i, j = _vectors(slices[0])
    normal = np.cross(i, j)
    positions = np.stack([_position(one) for one in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = tuple(slices[n] for n in order)
    step_mm = _even_step(positions[order], normal, ordered)
    first = ordered[0]
    spacing = first.spacing_mm or (1.0, 1.0)
    frame = LpsFrame(_position(first), np.stack([i, j, normal], axis=1), (*spacing, step_mm))
    return Stack(ordered, Geometry.from_lps(frame, (*first.size, len(ordered))))


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


def _even_step(
    positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], slices: tuple[Slice, ...]
) -> float:
    """Distance between slices along the normal, in mm; the thickness of a single slice, or 1."""
    if len(slices) == 1:
        return slices[0].thickness_mm or 1.0
    along = positions @ normal
    gaps = np.diff(along)
    _refuse_duplicates(gaps, along, slices)
    _refuse_tilt(positions - positions[0], normal, along, slices)
    step_mm = float(along[-1] - along[0]) / len(gaps)
    drift = np.abs(along - along[0] - step_mm * np.arange(len(along))).max()
    uneven = np.abs(gaps - step_mm).max() > max(GAP_TOLERANCE * step_mm, ROUNDING_MM)
    if uneven or drift > max(DRIFT_TOLERANCE * step_mm, ROUNDING_MM):
        _refuse_gaps(gaps, along)
    return step_mm


def _refuse_duplicates(
    gaps: npt.NDArray[np.float64], along: npt.NDArray[np.float64], slices: tuple[Slice, ...]
) -> None:
    twice = np.flatnonzero(gaps < min(ROUNDING_MM, 0.1 * float(np.median(gaps)) or ROUNDING_MM))
    if len(twice):
        n = int(twice[0])
        raise DuplicateSlices(
            "Each slice of a volume has a position of its own.",
            received=f"{len(twice)} positions held twice, the first at {along[n]:.2f} mm along the "
            f"normal: {_name(slices[n])} and {_name(slices[n + 1])}",
            cure="Remove copies; put each echo, phase or time point in a folder of its own.",
        )


def _refuse_tilt(
    relative: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    along: npt.NDArray[np.float64],
    slices: tuple[Slice, ...],
) -> None:
    shift = np.linalg.norm(relative - np.outer(relative @ normal, normal), axis=1)
    spacing = min(slices[0].spacing_mm or (1.0,))
    allowed = ROUNDING_MM + SHEAR_TOLERANCE * np.maximum(along - along[0], spacing)
    worst = int((shift - allowed).argmax())
    if shift[worst] > allowed[worst]:
        degrees = np.degrees(np.arctan2(shift[worst], along[worst] - along[0]))
        raise TiltedSeries(
            "Slices of a volume lie exactly above each other.",
            received=f"slices shifted by {shift[worst]:.2f} mm in their plane over "
            f"{along[worst] - along[0]:.1f} mm (gantry tilt of {degrees:.1f} degrees)",
            cure="Resample the series to an upright grid first, or export it without tilt.",
        )


def _refuse_gaps(gaps: npt.NDArray[np.float64], along: npt.NDArray[np.float64]) -> None:
    step_mm, typical_mm = float(gaps.min()), float(np.sort(gaps)[(len(gaps) - 1) // 2])
    ratio = gaps / step_mm
    whole = np.abs(ratio - np.rint(ratio)) <= max(DRIFT_TOLERANCE, ROUNDING_MM / step_mm)
    whole &= typical_mm < 3 * step_mm
    wide = np.flatnonzero(np.rint(ratio) > 1)
    where = "; ".join(
        f"between k = {n} at {along[n]:.2f} mm and k = {n + 1} at {along[n + 1]:.2f} mm"
        for n in (wide if whole.all() else np.argsort(-np.abs(gaps - typical_mm)))[:3]
    )
    if whole.all() and len(wide):
        count = int((np.rint(ratio) - 1).sum())
        raise MissingSlice(
            "A volume has no gaps.",
            received=f"{count} of {len(along) + count} slices missing, {step_mm:.2f} mm apart: "
            f"{where} along the normal",
            cure="Export the whole series again.",
        )
    raise UnevenSlices(
        "Slices of a volume are equally far apart.",
        received=f"distances from {gaps.min():.2f} to {gaps.max():.2f} mm, {where}",
        cure="Export one reconstruction with one slice distance.",
    )


def _position(one: Slice) -> npt.NDArray[np.float64]:
    return np.zeros(3) if one.position_mm is None else one.position_mm


def _vectors(one: Slice) -> npt.NDArray[np.float64]:
    return np.eye(3)[:2] if one.directions is None else one.directions


def _name(one: Slice) -> str:
    return one.path.name + (f" (frame {one.frame})" if one.frame else "")
