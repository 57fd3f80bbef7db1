"""What a predicted case leaves: its mask in the format that was asked for, and what lies beside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.errors import InvalidSegmentation
from medseg.inference.inputs import CaseInput
from medseg.volume.io import stem_of, write_label_map
from medseg.volume.volume import LabelMap

Format = Literal["nifti", "dicom-seg", "dicom-rtstruct", "same"]
"""Of the masks; "same" is the input's own (DICOM gives DICOM-SEG, JPEG gives PNG)."""

SegType = Literal["binary", "fractional", "labelmap"]
"""How a DICOM-SEG stores its masks."""

_DICOM: dict[Format, str] = {"dicom-seg": "A DICOM-SEG", "dicom-rtstruct": "An RTSTRUCT"}


@dataclass(frozen=True)
class MaskSettings:
    """How masks are written.

    Attributes:
        format: Of the files.
        seg_type: How a DICOM-SEG stores its masks.
        measurements: Whether a structured report with the volumes lies beside a DICOM-SEG.
    """

    format: Format = "nifti"
    seg_type: SegType = "binary"
    measurements: bool = False


def mask_name(case: CaseInput, format: Format) -> str:  # noqa: A002  the option's own name
    """File name of a case's mask.

    Raises:
        InvalidSegmentation: If DICOM is asked for and the case is no DICOM series, or one without
            identifiers to refer to.
        MissingGeometry: If the series has no frame of reference, in which DICOM masks lie.
    """
    if format in _DICOM and case.series is None:
        raise InvalidSegmentation(
            f"{_DICOM[format]} refers to the DICOM series that it was made from.",
            received=f"the file {case.images[0].name}",
            cure="Predict the DICOM folder, or choose --format nifti.",
        )
    if format == "nifti":
        return f"{case.id}.nii.gz"
    if case.series is not None:
        from medseg.volume.dicom_source import require_identity

        require_identity(case.series)
        return f"{case.id}.dcm"
    suffix = case.images[0].name[len(stem_of(case.images[0])) :]
    return case.id + (".png" if suffix.lower() in (".jpg", ".jpeg") else suffix)


def write_mask(
    label_map: LabelMap,
    case: CaseInput,
    path: Path,
    settings: MaskSettings,
    *,
    algorithm: str,
    version: str,
) -> tuple[Path, ...]:
    """Write a mask, and for DICOM by choice the volumes as a structured report beside it.

    Args:
        label_map: The mask.
        case: What it was made from.
        path: Where it shall be; a name of `mask_name`.
        settings: How it is written.
        algorithm: Name of the bundle.
        version: Of the bundle.

    Returns:
        The files beside the mask.

    Raises:
        DicomError: If a series lacks what DICOM masks refer to.
        CannotWrite: If a file cannot be written; then none is left.
    """
    if path.suffix != ".dcm" or case.series is None:
        write_label_map(label_map, path)
        return ()
    if settings.format == "dicom-rtstruct":
        from medseg.volume.dicom_rtstruct import write_structures

        write_structures(label_map, case.series, path, algorithm=algorithm, version=version)
        return ()
    from medseg.volume.dicom_seg import write_segmentation  # highdicom is slow to load

    write_segmentation(
        label_map, case.series, path, algorithm=algorithm, version=version, kind=settings.seg_type
    )
    if not settings.measurements:
        return ()
    from medseg.volume.dicom_sr import write_measurements

    report = path.with_name(f"{case.id}_volumes.dcm")
    try:
        write_measurements(
            label_map.volumes_ml(), case.series, path, report, algorithm=algorithm, version=version
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return (report,)
