"""A structured report beside a DICOM-SEG: the volume of each segment in millilitres (TID 1500)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom as hd
import pydicom
from pydicom.sr.codedict import codes

from medseg.errors import InvalidSegmentation
from medseg.files import atomic_file
from medseg.volume.dicom import Series, stack_series
from medseg.volume.dicom_identity import uid_for
from medseg.volume.dicom_source import source_headers

_SERIES_NUMBER = 9002
_ML = ("ml", "UCUM", "milliliter")
_VOLUME = ("118565006", "SCT", "Volume")
_FOUND = ("705057003", "SCT", "Presence")
_ABSENT = ("2667000", "SCT", "Absent")
_PROCEDURES = {
    "CT": ("25045-6", "LN", "CT Unspecified Body Region"),
    "MR": ("25056-3", "LN", "MRI Unspecified Body Region"),
    "PT": ("44136-0", "LN", "PET Unspecified Body Region"),
}
_IMAGING = ("363679005", "SCT", "Imaging")


def write_measurements(
    volumes_ml: Mapping[str, float],
    series: Series,
    segmentation: Path,
    path: Path,
    *,
    algorithm: str,
    version: str,
    identity: str = "",
) -> None:
    """Write a Comprehensive 3D SR with one group of measurements for each segment.

    Groups refer to their segment and share its tracking identifier. A structure that was not found
    has the volume 0 and is said to be absent.

    Args:
        volumes_ml: Volume of each segment by its label, as `LabelMap.volumes_ml` gives them.
        series: The images that were segmented.
        segmentation: The DICOM-SEG.
        path: Where the file shall be.
        algorithm: Name of what made the segmentation.
        version: Its version.
        identity: What its UIDs follow from; see `uid_for`.

    Raises:
        InvalidSegmentation: If the segmentation or the series lacks what a report refers to.
        CannotWrite: If the file cannot be written.

    Source:
        PS3.16, TID 1500 Measurement Report and TID 1411 Volumetric ROI Measurements.
    """
    seg = pydicom.dcmread(segmentation, defer_size=1024)
    try:
        report = hd.sr.MeasurementReport(
            observation_context=_observer(algorithm, version),
            procedure_reported=hd.sr.CodedConcept(*_PROCEDURES.get(series.modality, _IMAGING)),
            imaging_measurements=[
                _group(segment, seg, volumes_ml, series, (algorithm, version))
                for segment in seg.SegmentSequence
            ],
            title=codes.DCM.ImagingMeasurementReport,
        )
        document = hd.sr.Comprehensive3DSR(
            evidence=[seg, *source_headers(stack_series(series))],
            content=report[0],
            series_instance_uid=uid_for(identity, "report series"),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=uid_for(identity, "report"),
            instance_number=1,
            manufacturer="medseg",
            is_complete=True,
            is_final=False,
            series_description=f"Volumes by {algorithm}"[:64],
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidSegmentation(
            "A report of volumes refers to a DICOM-SEG that keeps to the standard.",
            received=" ".join(str(error).split())[:200],
            cure="Write the segmentation again, or go without the report.",
        ) from error
    document.ManufacturerModelName, document.SoftwareVersions = algorithm[:64], version[:64]
    with atomic_file(path) as temporary:
        document.save_as(temporary)


def _observer(algorithm: str, version: str) -> Any:
    """The program as the observer; its identifier follows from its name and version."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uid_for(f"{algorithm} {version}", "observer"),
        name=algorithm,
        manufacturer_name="medseg",
        model_name=algorithm,
    )
    context = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    return hd.sr.ObservationContext(observer_device_context=context)


def _group(
    segment: Any,
    seg: Any,
    volumes_ml: Mapping[str, float],
    series: Series,
    maker: tuple[str, str],
) -> Any:
    name = str(segment.SegmentLabel)
    kind, category = (
        hd.sr.CodedConcept.from_dataset(segment[keyword].value[0])
        for keyword in (
            "SegmentedPropertyTypeCodeSequence",
            "SegmentedPropertyCategoryCodeSequence",
        )
    )
    volume = hd.sr.Measurement(
        name=hd.sr.CodedConcept(*_VOLUME),
        value=round(volumes_ml[name], 4),
        unit=hd.sr.CodedConcept(*_ML),
        algorithm_id=hd.sr.AlgorithmIdentification(name=maker[0], version=maker[1]),
    )
    absent = hd.sr.QualitativeEvaluation(
        name=hd.sr.CodedConcept(*_FOUND), value=hd.sr.CodedConcept(*_ABSENT)
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=str(segment.TrackingUID), identifier=str(segment.TrackingID)
        ),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=hd.sr.SourceSeriesForSegmentation(series.uid),
        ),
        finding_type=kind,
        finding_category=category,
        measurements=[volume],
        qualitative_evaluations=None if volumes_ml[name] > 0 else [absent],
    )
