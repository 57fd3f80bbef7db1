"""Which plane of an even grid each slice lies on: missing slices are refused, or counted."""

import numpy as np
import numpy.typing as npt

from medseg.errors import MissingSlice, UnevenSlices

GAP_TOLERANCE = 0.02
"""Largest share by which one slice distance may differ from their mean."""

ROUNDING_MM = 0.011
"""Positions are often written with two decimals: a difference of this much is none."""

DRIFT_TOLERANCE = 0.05
"""Largest way of a slice from its place on the even grid, as a share of the slice distance."""

_LARGEST_GAP = 3
"""Typical distances of this many steps are no gaps: the smallest distance is the odd one."""


def planes_of(
    along_mm: npt.NDArray[np.float64], *, allow_gaps: bool
) -> tuple[tuple[int, ...], float]:
    """Find the even grid that slices lie on.

    Args:
        along_mm: Positions of at least two slices along their normal, ascending, none twice.
        allow_gaps: Whether whole slices may be missing between them.

    Returns:
        The plane of each slice, from 0, and the distance of planes in mm.

    Raises:
        MissingSlice: If whole slices are missing and that is not allowed, or more than there are.
        UnevenSlices: If the distances differ otherwise.
    """
    count, gaps = len(along_mm), np.diff(along_mm)
    even = tuple(range(count))
    step_mm = float(along_mm[-1] - along_mm[0]) / (count - 1)
    uneven = np.abs(gaps - step_mm).max() > max(GAP_TOLERANCE * step_mm, ROUNDING_MM)
    if not uneven and _drift_mm(along_mm, even, step_mm) <= _allowed_mm(step_mm):
        return even, step_mm
    planes = _planes_with_gaps(gaps)
    where = "; ".join(
        f"between k = {n} at {along_mm[n]:.2f} mm and k = {n + 1} at {along_mm[n + 1]:.2f} mm"
        for n in _suspects(gaps, planes)
    )
    if planes is None:
        raise _uneven(gaps, where)
    missing, step_mm = planes[-1] + 1 - count, float(along_mm[-1] - along_mm[0]) / planes[-1]
    if not allow_gaps or missing > count:
        cure = "Export the whole series again"
        raise MissingSlice(
            "A volume has no gaps.",
            received=f"{missing} of {planes[-1] + 1} slices missing, {step_mm:.2f} mm apart: "
            f"{where} along the normal",
            cure=f"{cure}, or say --allow-gaps to have them interpolated."
            if missing <= count
            else f"{cure}: more are missing than there are.",
        )
    if _drift_mm(along_mm, planes, step_mm) > _allowed_mm(step_mm):
        raise _uneven(gaps, where)
    return planes, step_mm


def _planes_with_gaps(gaps: npt.NDArray[np.float64]) -> tuple[int, ...] | None:
    """Planes if all distances are whole numbers of the smallest one, else None."""
    smallest, typical = float(gaps.min()), float(np.sort(gaps)[(len(gaps) - 1) // 2])
    steps = np.rint(gaps / smallest)
    whole = np.abs(gaps / smallest - steps) <= max(DRIFT_TOLERANCE, ROUNDING_MM / smallest)
    if not whole.all() or typical >= _LARGEST_GAP * smallest or steps.max() < 2:
        return None
    return (0, *(int(k) for k in steps.cumsum()))


def _suspects(gaps: npt.NDArray[np.float64], planes: tuple[int, ...] | None) -> list[int]:
    """The first few distances that are gaps, or else differ most from the typical one."""
    if planes is not None:
        return [int(n) for n in np.flatnonzero(np.diff(planes) > 1)[:3]]
    typical = np.sort(gaps)[(len(gaps) - 1) // 2]
    return [int(n) for n in np.argsort(-np.abs(gaps - typical))[:3]]


def _drift_mm(along_mm: npt.NDArray[np.float64], planes: tuple[int, ...], step_mm: float) -> float:
    return float(np.abs(along_mm - along_mm[0] - step_mm * np.array(planes)).max())


def _allowed_mm(step_mm: float) -> float:
    return max(DRIFT_TOLERANCE * step_mm, ROUNDING_MM)


def _uneven(gaps: npt.NDArray[np.float64], where: str) -> UnevenSlices:
    return UnevenSlices(
        "Slices of a volume are equally far apart.",
        received=f"distances from {gaps.min():.2f} to {gaps.max():.2f} mm, {where}",
        cure="Export one reconstruction with one slice distance.",
    )
