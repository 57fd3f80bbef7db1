"""Files that hold the same image twice: copies are dropped, anything else is refused."""

import filecmp
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medseg.errors import ConflictingFiles, DuplicateSlices
from medseg.types import AnyArray
from medseg.volume.dicom_pixels import require_frame, stored_frames
from medseg.volume.dicom_slices import Slice
from medseg.volume.dicom_spacing import ROUNDING_MM
from medseg.volume.remarks import Remark


def drop_copies(
    slices: Sequence[Slice], along_mm: npt.NDArray[np.float64]
) -> tuple[tuple[Slice, ...], tuple[Remark, ...]]:
    """Keep one of the slices at each position.

    Pixels are read only of slices that share a position or an identifier.

    Args:
        slices: Images of one size, ordered by position.
        along_mm: Position of each along the normal, ascending.

    Returns:
        Slices at distinct positions, and what was dropped.

    Raises:
        ConflictingFiles: If two files of one SOP instance hold different images.
        DuplicateSlices: If two different images lie at one position.
    """
    compared = _Compared()
    _require_one_image_for_each_name(slices, compared)
    if len(slices) < 2:
        return tuple(slices), ()
    gaps = np.diff(along_mm)
    wide = float(np.median(gaps[gaps > ROUNDING_MM])) if (gaps > ROUNDING_MM).any() else 0.0
    limit = min(ROUNDING_MM, 0.1 * wide or ROUNDING_MM)
    kept, dropped = [slices[0]], []
    for one, position, gap in zip(slices[1:], along_mm[1:], gaps, strict=True):
        if gap >= limit:
            kept.append(one)
        elif compared.same_image(kept[-1], one):
            dropped.append(one)
        else:
            raise _duplicate(kept[-1], one, float(position), int((gaps < limit).sum()))
    return tuple(kept), _remarks(dropped)


def _require_one_image_for_each_name(slices: Sequence[Slice], compared: "_Compared") -> None:
    """The same SOP instance is the same image wherever it lies."""
    known: dict[tuple[str, int], Slice] = {}
    for one in slices:
        if not one.sop_instance_uid:
            continue
        first = known.setdefault((one.sop_instance_uid, one.frame), one)
        if first is not one and not compared.same_image(first, one):
            raise ConflictingFiles(
                "Files with the same SOPInstanceUID hold the same image.",
                received=f"{first.path.name} and {one.path.name}, whose "
                f"{'pixels' if _same_place(first, one) else 'positions'} differ",
                cure="Find out which of them is right, and take the other one away.",
            )


def _same_place(a: Slice, b: Slice) -> bool:
    if a.position_mm is None or b.position_mm is None:
        return a.position_mm is b.position_mm
    return bool(np.abs(a.position_mm - b.position_mm).max() < ROUNDING_MM)


class _Compared:
    """Compares images; a file of many frames is read once and not for each of them."""

    def __init__(self) -> None:
        self._files: dict[tuple[Path, Path], bool] = {}
        self._frames: dict[Path, AnyArray] = {}

    def same_image(self, a: Slice, b: Slice) -> bool:
        """Whether slices of two files lie at one place and hold the same real values."""
        if not _same_place(a, b) or a.path == b.path:
            return False
        pair = (a.path, b.path)
        if pair not in self._files:
            self._files[pair] = filecmp.cmp(*pair, shallow=False)
        if self._files[pair] and a.frame == b.frame:
            return True
        self._frames = {path: self._frames[path] for path in pair if path in self._frames}
        return bool(np.array_equal(self._values(a), self._values(b)))

    def _values(self, one: Slice) -> AnyArray:
        if one.path not in self._frames:
            self._frames[one.path] = stored_frames(one)
        require_frame(self._frames[one.path], one)
        stored = self._frames[one.path][one.frame]
        return np.asarray(stored * np.float64(one.slope) + one.intercept)


def _duplicate(first: Slice, second: Slice, position_mm: float, count: int) -> DuplicateSlices:
    names = [f"{x.path.name}" + (f" (frame {x.frame})" if x.frame else "") for x in (first, second)]
    return DuplicateSlices(
        "Each slice of a volume has a position of its own.",
        received=f"{count} positions held twice, the first at {position_mm:.2f} mm along the "
        f"normal by different images: {names[0]} and {names[1]}",
        cure="Put each echo, phase or time point in a folder of its own.",
    )


def _remarks(dropped: Sequence[Slice]) -> tuple[Remark, ...]:
    if not dropped:
        return ()
    shown = ", ".join(one.path.name for one in dropped[:4]) + (", ..." if len(dropped) > 4 else "")
    text = f"{len(dropped)} copies of slices that were there already were dropped: {shown}."
    return (Remark(code="copies", text=text),)
