"""Reading DICOM headers: what a file says about each of its images, in one small record.

A classic file holds one image, an enhanced one many (its frames); both become `Slice`s.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from medseg.errors import UnreadableFile
from medseg.volume.dicom_pet import PET_TAGS, PetFacts, pet_facts
from medseg.volume.formats import DICOM_SUFFIXES

warnings.filterwarnings("ignore", category=UserWarning, module=r"(pydicom|highdicom)\.")
"""Scans in the wild break small rules of the standard by the thousand; what matters is refused."""

_HEADER_TAGS = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID",
    "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "StudyDescription",
    "SeriesDescription", "SeriesNumber", "PatientID", "PatientName", "ImageType",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored",
    "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "LossyImageCompression", *PET_TAGS,
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip

_NO_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.66",  # segmentations, registrations, raw data
    "1.2.840.10008.5.1.4.1.1.481",  # radiotherapy: dose, structures, plans
    "1.2.840.10008.5.1.4.1.1.30",  # parametric maps
    "1.2.840.10008.5.1.4.1.1.11",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88",  # structured reports
)
"""SOP classes, and families of them, that may have rows and columns but are no scans."""

_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
_PERHAPS_LOSSY = (JPEG2000, HTJ2K)
"""Transfer syntaxes that lose something, and those that can."""

_MOST_BITS = 64

_PIXEL_DATA = b"\xe0\x7f\x10\x00"

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""How a DICOM file without preamble begins: its file meta information or its SOP class."""


@dataclass(frozen=True)
class PlainPixels:
    """Where uncompressed pixels lie in a file.

    Attributes:
        offset: Bytes before the first.
        dtype: Type of a stored value.
        unused_bits: Upper bits of each that are no part of the value (old overlays).
        frames: Number of images.
    """

    offset: int
    dtype: np.dtype[Any]
    unused_bits: int
    frames: int


@dataclass(frozen=True, eq=False)
class Slice:
    """One image and where it lies. Positions and directions are LPS, as in the file.

    Attributes:
        path: The file.
        frame: Which of its frames, from 0.
        sop_instance_uid: What the file is called in DICOM.
        size: Columns and rows: the number of voxels along I and J.
        samples: Numbers in each pixel: 1 for grey.
        position_mm: Centre of the first pixel, shape (3,).
        directions: Unit vectors of I (along a row) and J (down a column), shape (2, 3).
        spacing_mm: Distance between pixel centres along I and J.
        thickness_mm: Slice thickness, which is not the distance between slices; 0 if not given.
        slope: Real value = stored value x slope + intercept.
        intercept: See slope.
        has_lut: Whether a table stands in place of slope and intercept.
        stored_range: Lowest and largest value that the stored bits can hold.
        frame_of_reference: Positions with the same one can be compared.
        image_type: DICOM's words, such as ("ORIGINAL", "PRIMARY", "LOCALIZER").
        plain: Where the file's pixels lie, or None if they must be decoded.
        padding: Lowest and largest stored value that stands for "outside of the scan", or None.
        lossy: Whether the image was compressed with loss, now or earlier.
        pet: What uptake values follow from; None for what is no PET.
    """

    path: Path
    frame: int
    sop_instance_uid: str
    size: tuple[int, int]
    samples: int
    position_mm: npt.NDArray[np.float64] | None
    directions: npt.NDArray[np.float64] | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float
    slope: float
    intercept: float
    has_lut: bool
    stored_range: tuple[int, int]
    frame_of_reference: str
    image_type: tuple[str, ...]
    plain: PlainPixels | None
    padding: tuple[int, int] | None = None
    lossy: bool = False
    pet: PetFacts | None = None


@dataclass(frozen=True)
class FileHeader:
    """One DICOM file.

    Attributes:
        series_uid: Files with the same one were made together.
        facts: Text of the header by DICOM keyword, "" where it is missing.
        slices: Its images; none for a report, a segmentation, a DICOMDIR and the like.
    """

    series_uid: str
    facts: dict[str, str]
    slices: tuple[Slice, ...]


_FACTS = (
    "Modality", "StudyInstanceUID", "StudyDescription", "SeriesDescription", "SeriesNumber",
    "PatientID", "PatientName", "SOPClassUID",
)  # fmt: skip


def read_headers(place: Path) -> Iterator[FileHeader]:
    """Headers of all DICOM files in a folder and below it, or of one file; others are passed over.

    Raises:
        UnreadableFile: If a file begins as DICOM, or is named so, and cannot be understood: a
            series must not lose a slice without a word.
    """
    paths = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    for path in paths:
        if _looks_like_dicom(path):
            yield _read_header(path)


def _looks_like_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            block = file.read(132)
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error
    known = block[128:] == b"DICM" or (len(block) == 132 and block[:2] in _FIRST_GROUPS)
    if not known and path.suffix.lower() in DICOM_SUFFIXES:
        short = f"{len(block)} bytes, where a header has more"
        raise unreadable(path, "no DICOM header" if len(block) == 132 else short)
    return known


def _read_header(path: Path) -> FileHeader:
    try:
        with path.open("rb") as file:
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=_HEADER_TAGS
            )
            facts = {word: str(dataset.get(word) or "") for word in _FACTS}
            series_uid = str(dataset.get("SeriesInstanceUID", ""))
            _require_whole(dataset, path)
            is_image = _is_image(dataset)
            plain = _plain_pixels(dataset, file) if is_image else None
        slices = _slices_of(dataset, path, plain) if is_image else ()
    except UnreadableFile:
        raise
    except Exception as error:  # a broken header makes pydicom raise whatever its parser meets
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    return FileHeader(series_uid, facts, slices)


def _require_whole(dataset: Any, path: Path) -> None:
    """Refuse a file that was cut before its header told what it is."""
    if dataset.get("Rows") and dataset.get("Columns"):
        return
    stored_as = getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", "")
    sop_class = str(dataset.get("SOPClassUID", "") or stored_as)
    if not sop_class:
        raise unreadable(path, "a header that ends before it says what the file is")
    if UID(sop_class).name.endswith("Image Storage") and not _is_no_image(sop_class):
        raise unreadable(path, "a header that ends before the size of the image")


def _is_no_image(sop_class: str) -> bool:
    return any(sop_class == family or sop_class.startswith(f"{family}.") for family in _NO_IMAGES)


def _is_image(dataset: Any) -> bool:
    if _is_no_image(str(dataset.get("SOPClassUID", ""))):
        return False
    return bool(dataset.get("Rows")) and bool(dataset.get("Columns"))


def _plain_pixels(dataset: Any, file: BinaryIO) -> PlainPixels | None:
    """Look at the element where the header ended: is it pixels as they are, and all of them?"""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        return None
    element = file.read(8 if syntax == ImplicitVRLittleEndian else 12)
    length = int.from_bytes(element[-4:], "little")
    bits, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if element[:4] != _PIXEL_DATA or bits not in (8, 16, 32) or not 0 < (stored or 0) <= bits:
        return None
    frames = int(dataset.get("NumberOfFrames") or 1)
    needed = frames * int(dataset.Rows) * int(dataset.Columns) * bits // 8
    offset = file.tell()
    if length < needed or file.seek(0, 2) < offset + needed:
        return None
    dtype = np.dtype(f"<{'i' if dataset.get('PixelRepresentation') else 'u'}{bits // 8}")
    return PlainPixels(offset, dtype, bits - stored, frames)


def _slices_of(dataset: Any, path: Path, plain: PlainPixels | None) -> tuple[Slice, ...]:
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return tuple(
            _slice_of(dataset, dataset, path, frame, plain)
            for frame in range(int(dataset.get("NumberOfFrames") or 1))
        )
    shared = dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    return tuple(
        _slice_of(dataset, flattened(group, shared[0]), path, frame, plain)
        for frame, group in enumerate(groups)
    )


def flattened(own: Any, shared: Any) -> Any:
    """The functional groups of one frame as the attributes of a classic image (PS3.3, C.7.6.16)."""
    flat = pydicom.Dataset()
    for macro in (
        "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
    ):  # fmt: skip
        for item in (own.get(macro) or shared.get(macro) or ())[:1]:
            flat.update(item)
    return flat


def _slice_of(dataset: Any, place: Any, path: Path, frame: int, plain: PlainPixels | None) -> Slice:
    orientation = numbers_of(place, "ImageOrientationPatient", 6)
    spacing = numbers_of(place, "PixelSpacing", 2)
    bits, signed = (
        int(dataset.get("BitsStored") or 16),
        int(dataset.get("PixelRepresentation") or 0),
    )
    if not 1 <= bits <= _MOST_BITS:
        raise ValueError(f"{bits} bits in a stored value")
    return Slice(
        path=path,
        frame=frame,
        sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
        size=(int(dataset.Columns), int(dataset.Rows)),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        position_mm=numbers_of(place, "ImagePositionPatient", 3),
        directions=unit_vectors(orientation),
        spacing_mm=None if spacing is None else (float(spacing[1]), float(spacing[0])),
        thickness_mm=float(place.get("SliceThickness") or 0.0),
        slope=1.0 if place.get("RescaleSlope") is None else float(place.RescaleSlope),
        intercept=float(place.get("RescaleIntercept") or 0.0),
        has_lut=bool(dataset.get("ModalityLUTSequence")),
        stored_range=(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        image_type=tuple(str(word) for word in dataset.get("ImageType") or ()),
        plain=plain,
        padding=_padding(dataset, bits, signed),
        lossy=_is_lossy(dataset),
        pet=pet_facts(dataset) if dataset.get("Modality") == "PT" else None,
    )


def _padding(dataset: Any, bits: int, signed: int) -> tuple[int, int] | None:
    """Stored values that are no measurement (PS3.3, C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [int(dataset.PixelPaddingValue)]
    ends.append(ends[0] if limit is None else int(limit))
    if signed:  # written as an unsigned number by some
        ends = [end - (1 << 16) if end >= 1 << 15 and bits <= 16 else end for end in ends]
    return min(ends), max(ends)


def _is_lossy(dataset: Any) -> bool:
    said = dataset.get("LossyImageCompression")
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    return said == "01" or syntax in _LOSSY or (syntax in _PERHAPS_LOSSY and said != "00")


def numbers_of(place: Any, keyword: str, count: int) -> npt.NDArray[np.float64] | None:
    """An attribute of `count` finite numbers, or None if it is missing or has not as many."""
    values = place.get(keyword)
    if values is None or isinstance(values, str) or len(values) != count:
        return None
    numbers = np.array([float(value) for value in values])
    return numbers if np.isfinite(numbers).all() else None


def unit_vectors(orientation: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
    """Two directions as unit vectors, or None if they are not at right angles."""
    if orientation is None:
        return None
    vectors = orientation.reshape(2, 3)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if abs(lengths - 1).max() > _ROUNDING or abs(vectors[0] @ vectors[1]) > _ROUNDING:
        return None
    first = vectors[0] / lengths[0]
    second = vectors[1] - first * (first @ vectors[1])
    return np.stack([first, second / np.linalg.norm(second)])


_ROUNDING = 1e-2
"""Directions written with two decimals still count as unit vectors at right angles."""


def unreadable(path: Path, what: str) -> UnreadableFile:
    """The error for a file that is no whole DICOM file."""
    return UnreadableFile(
        f"{path} must be a whole DICOM file.",
        received=" ".join(what.split())[:160],
        cure="Export the series again, or take this file away.",
    )


def class_name(sop_class_uid: str) -> str:
    """What a SOP class is called: "Segmentation Storage"."""
    return str(UID(sop_class_uid).name) if sop_class_uid else "DICOMDIR or unknown"
