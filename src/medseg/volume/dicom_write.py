"""Writing a plain DICOM series: one file for each slice, CT or MR."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from medseg.errors import UnknownFormat
from medseg.files import atomic_folder
from medseg.types import AnyArray
from medseg.volume.volume import Volume

_SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_CT_INTERCEPT = -1024.0
"""Hounsfield units of the stored value 0, as scanners have it."""

_UNKNOWN = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate",
    "PatientSex", "StudyID", "PositionReferenceIndicator", "AcquisitionNumber",
)  # fmt: skip
_UNKNOWN_IN = {
    "CT": ("KVP",),
    "MR": ("EchoTime", "RepetitionTime", "EchoTrainLength", "InversionTime"),
}
"""Attributes that must be there and may be empty (type 2)."""

_INT16 = np.iinfo(np.int16)


def write_series(
    volume: Volume,
    folder: Path,
    *,
    modality: str = "MR",
    patient_name: str,
    patient_id: str,
    study_description: str = "",
    series_description: str = "",
) -> None:
    """Write each slice k as one file, rows along J and columns along I, as 16-bit integers.

    Whole values that fit are kept as they are; others are scaled to the range of 16 bits by one
    slope and intercept, with an error of at most half a slope.

    Args:
        volume: One channel of finite values on a grid whose axes meet at right angles.
        folder: Where the files go; a folder that is there is replaced.
        modality: "CT" (values are Hounsfield units) or "MR".
        patient_name: PatientName, such as "Phantom^One".
        patient_id: PatientID.
        study_description: StudyDescription.
        series_description: SeriesDescription.

    Raises:
        UnknownFormat: If the volume cannot be a plain CT or MR series.
        CannotWrite: If the folder cannot be written.
    """
    _require_plain(volume, modality)
    stored, slope, intercept = _to_int16(volume.array[0], _CT_INTERCEPT if modality == "CT" else 0)
    header = _series_header(volume, modality)
    header.PatientName, header.PatientID = patient_name, patient_id
    header.StudyDescription, header.SeriesDescription = study_description, series_description
    header.RescaleSlope, header.RescaleIntercept = _decimal(slope), _decimal(intercept)
    header.RescaleType = "HU" if modality == "CT" else "US"
    low, high = float(volume.array.min()), float(volume.array.max())
    header.WindowCenter = _decimal((low + high) / 2)
    header.WindowWidth = _decimal(max(high - low, 1.0))
    with atomic_folder(folder) as temporary:
        for k in range(volume.geometry.grid_size[2]):
            image = _slice_of(header, volume, k)
            image.PixelData = np.ascontiguousarray(stored[:, :, k].T).astype("<i2").tobytes()
            image.save_as(temporary / f"{k + 1:04d}.dcm", enforce_file_format=True)


def _require_plain(volume: Volume, modality: str) -> None:
    received = ""
    if modality not in _SOP_CLASSES:
        received = f"modality {modality!r}"
    elif volume.array.shape[0] != 1:
        received = f"{volume.array.shape[0]} channels"
    elif not volume.geometry.is_orthogonal:
        received = "a grid whose axes do not meet at right angles"
    elif not np.isfinite(volume.array).all():
        received = "values that are no numbers"
    if received:
        raise UnknownFormat(
            "A plain DICOM series is CT or MR: one channel of finite values on an upright grid.",
            received=received,
            cure="Write .nii.gz instead, or resample and choose one channel first.",
        )


def _to_int16(values: AnyArray, intercept: float) -> tuple[npt.NDArray[np.int16], float, float]:
    """Stored values with the slope and intercept that give the real ones back."""
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "iub" or not (values != np.rint(values)).any()
    if whole and _INT16.min <= low - intercept and high - intercept <= _INT16.max:
        return np.rint(values - intercept).astype(np.int16), 1.0, intercept
    slope = float(_decimal((high - low) / (_INT16.max - _INT16.min) or 1.0))
    middle = float(_decimal((low + high) / 2))
    scaled = np.rint((values.astype(np.float64) - middle) / slope)
    return scaled.clip(_INT16.min, _INT16.max).astype(np.int16), slope, middle


def _series_header(volume: Volume, modality: str) -> Any:
    """What all slices share (PS3.3: patient, study, series, frame of reference, plane, pixel)."""
    frame, (columns, rows, _) = volume.geometry.to_lps(), volume.geometry.grid_size
    header = pydicom.Dataset()
    header.SOPClassUID = _SOP_CLASSES[modality]
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    header.Modality, header.Manufacturer = modality, "medseg"
    header.StudyInstanceUID = generate_uid(prefix=None)
    header.SeriesInstanceUID = generate_uid(prefix=None)
    header.FrameOfReferenceUID = generate_uid(prefix=None)
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _UNKNOWN + _UNKNOWN_IN[modality]:
        setattr(header, keyword, None)
    header.SeriesNumber = 1
    header.ImageOrientationPatient = [_decimal(x) for x in frame.direction[:, :2].T.ravel()]
    header.PixelSpacing = [_decimal(frame.spacing_mm[1]), _decimal(frame.spacing_mm[0])]
    header.SliceThickness = _decimal(frame.spacing_mm[2])
    header.SpacingBetweenSlices = _decimal(frame.spacing_mm[2])
    header.Rows, header.Columns = rows, columns
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = 1
    if modality == "MR":
        header.ScanningSequence, header.SequenceVariant = "RM", "NONE"
        header.ScanOptions, header.MRAcquisitionType = None, "3D"
    return header


def _slice_of(header: Any, volume: Volume, k: int) -> Any:
    image = pydicom.Dataset()
    image.update(header)
    image.SOPInstanceUID = generate_uid(prefix=None)
    image.InstanceNumber = k + 1
    frame = volume.geometry.to_lps()
    position = frame.origin_mm + k * frame.spacing_mm[2] * frame.direction[:, 2]
    image.ImagePositionPatient = [_decimal(x) for x in position]
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def _decimal(value: float) -> DSfloat:
    """A number in the 16 characters that DICOM gives it."""
    return DSfloat(float(value) + 0.0, auto_format=True)
