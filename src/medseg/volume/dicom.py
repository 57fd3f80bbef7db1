"""A folder of DICOM becomes series, a series one Volume, or a DicomError that says why not.

Not scans, and passed over: reports, segmentations, structure sets, dose, presentation states,
DICOMDIR and files that are no DICOM. Enhanced multi-frame files count as one slice for each frame.
Stored values become real values by the rescale slope and intercept of each slice; PET becomes
uptake values (SUV by body weight).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medseg.errors import MissingPath, MixedSeries, NoDicom
from medseg.volume.dicom_gaps import fill_gaps
from medseg.volume.dicom_pet import suv_factors
from medseg.volume.dicom_pixels import read_padded_pixels
from medseg.volume.dicom_slices import FileHeader, Slice, class_name, read_headers
from medseg.volume.dicom_stack import Stack, is_localizer, sort_if_placed, stack_slices
from medseg.volume.dicom_tilt import put_upright
from medseg.volume.dicom_write import write_series
from medseg.volume.geometry import Geometry
from medseg.volume.remarks import Remark
from medseg.volume.volume import Source, Volume

__all__ = [
    "Series", "find_only_series", "find_series", "inspect_series", "no_images", "read_series",
    "read_series_geometry", "select_series", "stack_series", "write_series",
]  # fmt: skip


_PADDING = Remark(code="padding", text="Pixels that the files mark as padding count as background.")


@dataclass(frozen=True)
class Series:
    """Images that were made together.

    Attributes:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        paths: Files in the order of position, where they have one.
        modality: "CT", "MR", "PT" and so on.
        description: SeriesDescription, as the scanner names it.
        study_description: StudyDescription.
        number: SeriesNumber, as text.
        patient_id: PatientID.
        is_localizer: Whether all of it are scouts, from which other series were planned.
        slices: What the header of each image says.
        allow_gaps: Whether slices may be missing; they are interpolated, and a remark says so.
    """

    uid: str
    study_uid: str
    paths: tuple[Path, ...]
    modality: str
    description: str
    study_description: str
    number: str
    patient_id: str
    is_localizer: bool
    slices: tuple[Slice, ...] = field(repr=False, compare=False)
    allow_gaps: bool = False

    def __str__(self) -> str:
        """Modality, description and number of images: "MR T1 axial (32 images)"."""
        words = [
            self.modality or "unknown",
            self.description or f"series {self.number or self.uid}",
        ]
        return f"{' '.join(words)} ({len(self.slices)} images)"


def find_series(folder: Path) -> tuple[Series, ...]:
    """All image series in a folder and below it, localizers too; pixels are not read.

    Args:
        folder: A folder, or one DICOM file.

    Raises:
        MissingPath: If nothing is there.
        UnreadableFile: If a DICOM file is broken.
    """
    return _group(_headers(folder))


def find_only_series(place: Path | Series, *, uid: str = "", allow_gaps: bool = False) -> Series:
    """The one image series in a folder; localizers of their own series are left aside.

    Args:
        place: A folder, or one DICOM file; a series is given back as it is.
        uid: Which series, if there are several: its SeriesInstanceUID, or how that ends.
        allow_gaps: Whether slices may be missing.

    Raises:
        MissingPath: If nothing is there.
        NoDicom: If there is no image, or no series of this name.
        MixedSeries: If there are several series; the message names them.
    """
    if isinstance(place, Series):
        return place
    every = find_series(place)
    if uid:
        every = select_series(every, uid, place)
    scans = [series for series in every if not series.is_localizer] or list(every)
    if not scans:
        raise no_images(place)
    if len(scans) > 1:
        raise MixedSeries(
            f"{place} must hold one image series.",
            received=f"{len(scans)}: {_named(scans)}",
            cure="Choose one with --series UID (medseg info shows them), or name its own folder.",
        )
    return replace(scans[0], allow_gaps=allow_gaps)


def select_series(every: Sequence[Series], uid: str, place: Path) -> tuple[Series, ...]:
    """The series of this SeriesInstanceUID, or those whose UID ends so.

    Raises:
        NoDicom: If there is none.
    """
    exact = tuple(series for series in every if series.uid == uid)
    found = exact or tuple(series for series in every if series.uid.endswith(uid))
    if not found:
        raise NoDicom(
            f"{place} must hold the series that was chosen.",
            received=f"none whose UID ends in {uid}, but {_named(every) or 'no image'}",
            cure="Look up its UID: medseg info FOLDER --json.",
        )
    return found


def _named(series: Sequence[Series]) -> str:
    shown = "; ".join(f"{one}, UID ...{one.uid[-8:]}" for one in series[:6])
    return shown + ("; ..." if len(series) > 6 else "")


def no_images(place: Path) -> NoDicom:
    """The error for a file or folder without a DICOM image; it says what is there instead."""
    return NoDicom(
        f"{place} must hold DICOM images.",
        received=_what_else(_headers(place)),
        cure="Check the path.",
    )


def read_series(folder_or_series: Path | Series) -> Volume:
    """Read one series as a volume in real values.

    Args:
        folder_or_series: A folder (searched to the bottom) with one image series, a DICOM file,
            or a series from `find_series`. Localizers of their own series are left aside.

    Returns:
        One channel: int16 or int32 where all values are whole, else float32. I runs along the
        columns, J along the rows, K along the normal of the slices.

    Raises:
        MissingPath: If nothing is there.
        NoDicom: If there is no image.
        MixedSeries: If there are several series, or slices that do not belong together.
        DicomError: If the slices make no true volume (see `medseg.volume.dicom_stack`) or the
            pixels cannot be decoded.
        UnreadableFile: If a DICOM file is broken.
    """
    series = find_only_series(folder_or_series)
    stack = stack_series(series)
    slices = _in_uptake(stack.slices)
    pixels, padded = read_padded_pixels(slices)
    array = fill_gaps(put_upright(pixels, stack.tilt), stack.planes)[np.newaxis]
    source = Source(
        tuple(one.path for one in slices),
        "dicom",
        series.modality,
        (*stack.remarks, *_remarks(slices), *((_PADDING,) if padded else ())),
    )
    return Volume(array, stack.geometry, ("image",), source)


def read_series_geometry(folder_or_series: Path | Series) -> Geometry:
    """Where the voxels of one series lie; pixels are not read.

    Raises:
        DicomError: As `read_series`.
        FileError: As `read_series`.
    """
    return stack_series(find_only_series(folder_or_series)).geometry


def inspect_series(series: Series) -> tuple[Geometry, tuple[Remark, ...]]:
    """Where the voxels lie and what would be remarked; pixels are not read.

    Raises:
        DicomError: As `read_series`, as far as headers tell.
    """
    stack = stack_series(series)
    slices = _in_uptake(stack.slices)
    return stack.geometry, (*stack.remarks, *_remarks(slices))


def stack_series(series: Series) -> Stack:
    """Slices in order with their geometry.

    Raises:
        DicomError: If they make no true volume.
    """
    return stack_slices(series.slices, allow_gaps=series.allow_gaps)


def _in_uptake(slices: tuple[Slice, ...]) -> tuple[Slice, ...]:
    """PET scaled to SUV; everything else as it is."""
    factors = suv_factors([one.pet for one in slices])
    return tuple(
        one
        if factor == 1
        else replace(one, slope=one.slope * factor, intercept=one.intercept * factor)
        for one, factor in zip(slices, factors, strict=True)
    )


def _remarks(slices: Sequence[Slice]) -> list[Remark]:
    remarks = []
    lossy = sum(one.lossy for one in slices)
    if lossy:
        text = f"{lossy} of {len(slices)} images were compressed with loss."
        remarks.append(Remark(code="lossy", text=text))
    if any(one.pet is not None for one in slices):
        units = sorted({one.pet.units for one in slices if one.pet is not None})
        text = f"Values are uptake by body weight (SUV, g/ml), from {', '.join(units)}."
        remarks.append(Remark(code="suv", text=text))
    return remarks


def _headers(place: Path) -> list[FileHeader]:
    if not place.exists():
        raise MissingPath(
            "A DICOM folder must be there.", received=str(place), cure="Check the path."
        )
    return list(read_headers(place))


def _group(headers: Sequence[FileHeader]) -> tuple[Series, ...]:
    grouped = defaultdict[str, list[FileHeader]](list)
    for header in headers:
        if header.slices:
            grouped[header.series_uid].append(header)
    return tuple(_series_of(uid, files) for uid, files in grouped.items())


def _series_of(uid: str, files: Sequence[FileHeader]) -> Series:
    slices = sort_if_placed([one for file in files for one in file.slices])
    facts = files[0].facts
    return Series(
        uid=uid,
        study_uid=facts["StudyInstanceUID"],
        paths=tuple(dict.fromkeys(one.path for one in slices)),
        modality=facts["Modality"],
        description=facts["SeriesDescription"],
        study_description=facts["StudyDescription"],
        number=facts["SeriesNumber"],
        patient_id=facts["PatientID"],
        is_localizer=all(is_localizer(one) for one in slices),
        slices=slices,
    )


def _what_else(headers: Sequence[FileHeader]) -> str:
    kinds = Counter(class_name(header.facts["SOPClassUID"]) for header in headers)
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items()) or "no DICOM file"
