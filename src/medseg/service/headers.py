"""What is read of a DICOM file before it is held: bounded, and enough to answer queries with."""

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medseg.errors import BadUpload, TooLarge

QUERIED = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID",
    "SeriesInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDescription",
    "Modality", "SeriesDescription", "SeriesNumber", "SeriesDate", "SeriesTime", "BodyPartExamined",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "InstanceNumber",
    "Rows", "Columns", "BitsAllocated", "NumberOfFrames", "ContentDate", "ContentTime",
    "FrameOfReferenceUID", "ImageType", "TimezoneOffsetFromUTC",
)  # fmt: skip
"""What QIDO-RS must be able to answer with (PS3.18, tables 10.6.3-3 to 10.6.3-5), and what rules
and job records look at."""

_UID_LETTERS = 64
_CHUNK = 1 << 20
_DEFLATED_CHUNK = 1 << 14
_START_BYTES = 16 << 20
_LAST_GROUP = max(tag_for_keyword(keyword) >> 16 for keyword in QUERIED)


@dataclass(frozen=True)
class Header:
    """The facts of one instance.

    Attributes:
        sop_class_uid: What kind of object it is.
        sop_uid: The instance.
        study_uid: Its study.
        series_uid: Its series.
        transfer_syntax_uid: How it is encoded.
        pixels: Rows x Columns x Frames; 0 for what has no image.
        frames: Number of frames; 1 for what does not say.
        attributes: Those of `QUERIED` that it has, in the DICOM JSON model (PS3.18, F.2).
    """

    sop_class_uid: str
    sop_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax_uid: str
    pixels: int
    frames: int
    attributes: dict[str, Any]


def read_header(path: Path, *, inflated_bytes: int) -> Header:
    """Read the header of a file; pixels stay on the disk.

    Args:
        path: The file.
        inflated_bytes: What a deflated data set may become.

    Raises:
        BadUpload: If it is no DICOM file (PS3.10), or one without the identifiers of study,
            series, instance and class.
        TooLarge: If a deflated data set becomes larger than the bound.
    """
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax == DeflatedExplicitVRLittleEndian:
            dataset = _deflated(path, inflated_bytes)
        else:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_tags())
        return _header_of(dataset, syntax)
    except TooLarge:
        raise
    except Exception as error:
        raise BadUpload(
            "An instance is a whole DICOM file with UIDs of its study, series, instance and class.",
            received=type(error).__name__,
            cure="Export it again from where it comes from.",
        ) from error


def content_digest(path: Path) -> str:
    """SHA-256 of what an instance holds: its transfer syntax, and all bytes of its data set.

    Preamble and group 2 say who wrote the file, and each door writes its own: the same instance by
    STOW-RS and by C-STORE has the same digest.
    """
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        meta = pydicom.filereader._read_file_meta_info(file)
        hashed = hashlib.sha256(f"{meta.TransferSyntaxUID}\n".encode())
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def _tags() -> list[Any]:
    return [tag_for_keyword(keyword) for keyword in QUERIED]


def _header_of(dataset: Any, syntax: str) -> Header:
    uids = [
        str(dataset[keyword].value)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    ]
    if not all(_is_uid(uid) for uid in (*uids, syntax)):
        raise ValueError("an identifier is no UID")
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    pixels = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * frames
    attributes = dataset.to_json_dict(suppress_invalid_tags=True)
    return Header(uids[0], uids[1], uids[2], uids[3], syntax, pixels, frames, attributes)


def _is_uid(text: str) -> bool:
    """Whether a text may be an identifier (PS3.5, 9.1); old systems pad components with zeros."""
    return 0 < len(text) <= _UID_LETTERS and all(part.isdigit() for part in UID(text).split("."))


def _deflated(path: Path, most_bytes: int) -> pydicom.Dataset:
    """The header of a deflated data set, of which no more than its start is ever kept.

    pydicom itself inflates the whole: a file of some megabytes would take all memory there is.
    """
    start = io.BytesIO(_inflated_start(path, most_bytes))
    return pydicom.filereader.read_dataset(
        start,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, *_: tag.group > _LAST_GROUP,
        specific_tags=_tags(),
    )


def _inflated_start(path: Path, most_bytes: int) -> bytes:
    """The first bytes of a deflated data set; the rest is inflated, counted and dropped."""
    kept, total = bytearray(), 0
    with path.open("rb") as file:
        file.seek(_end_of_meta(path))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        while chunk := file.read(_DEFLATED_CHUNK):
            while chunk:
                piece = inflater.decompress(chunk, _CHUNK)
                kept += piece[: _START_BYTES - len(kept)]
                total += len(piece)
                if total > most_bytes:
                    raise TooLarge(
                        "A deflated instance stays within a bound when it is inflated.",
                        received=f"more than {most_bytes} bytes",
                        cure="Send it uncompressed, or raise limits.inflated_bytes.",
                    )
                chunk = inflater.unconsumed_tail
    return bytes(kept)


def _end_of_meta(path: Path) -> int:
    """Where the data set begins: behind preamble, "DICM" and group 2 (PS3.10, 7.1)."""
    meta = pydicom.filereader.read_file_meta_info(path)
    first = meta[0x0002, 0x0000]
    return 128 + 4 + 12 + int(first.value)
