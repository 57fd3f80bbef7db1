"""Instances as explicit little endian."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)

from medseg.errors import BadUpload
from medseg.service.decoding import decoded, write_plain

VALUES = np.arange(16, dtype="<u2").reshape(4, 4)


def instance(path: Path, syntax: str, *, bits: int = 16) -> Path:
    """An instance of four by four pixels that count."""
    dataset: Any = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.2"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = bits - 1, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = VALUES.astype(f"<u{bits // 8}").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        words = np.frombuffer(dataset.PixelData, f"<u{max(bits, 16) // 8}")
        dataset.PixelData = words.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(
        path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [
        (ExplicitVRLittleEndian, 16),
        (ImplicitVRLittleEndian, 16),
        (DeflatedExplicitVRLittleEndian, 16),
        (RLELossless, 16),
        (ExplicitVRBigEndian, 16),
        (ExplicitVRBigEndian, 32),
        (ExplicitVRBigEndian, 8),
    ],
)
def test_pixels_and_identifiers_stay(tmp_path: Path, syntax: str, bits: int) -> None:
    source, target = instance(tmp_path / "in.dcm", syntax, bits=bits), tmp_path / "out.dcm"
    write_plain(source, target)
    got = pydicom.dcmread(target)
    assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert got.file_meta.MediaStorageSOPInstanceUID == got.SOPInstanceUID == "1.2.3"
    assert np.array_equal(got.pixel_array, VALUES)


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    """In its own process, and with good ones before it."""
    good = instance(tmp_path / "good.dcm", RLELossless)
    broken = instance(tmp_path / "broken.dcm", RLELossless)
    dataset = pydicom.dcmread(broken)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(broken)
    into = tmp_path / "out"
    into.mkdir()
    (one,) = decoded([good], into, memory_bytes=2**31, seconds=60.0)
    assert np.array_equal(pydicom.dcmread(one).pixel_array, VALUES)
    with pytest.raises(BadUpload, match="could not be decoded"):
        decoded([good, broken], into, memory_bytes=2**31, seconds=60.0)
    with pytest.raises(BadUpload, match=r"more seconds than limits\.job_seconds"):
        decoded([good], into, memory_bytes=2**31, seconds=0.001)
