import highdicom as hd
import numpy as np
import pydicom
import pytest

from medseg.errors import InvalidSegmentation
from medseg.volume.dicom import find_only_series, read_series_geometry
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.dicom_sr import write_measurements
from medseg.volume.labels import Code, Label
from medseg.volume.volume import LabelMap


@pytest.fixture
def report(tmp_path, series):
    array = np.zeros((5, 4, 6), np.uint8)
    array[1:4, 1:3, 2:4] = 7
    kidney = Label(value=7, name="Niere", kind=Code(value="64033007", meaning="Kidney"))
    source = find_only_series(series)
    mask = LabelMap(array, read_series_geometry(source), (kidney, Label(value=9, name="not found")))
    made_by = {"algorithm": "unit test", "version": "1.2"}
    write_segmentation(mask, source, tmp_path / "seg.dcm", **made_by)
    write_measurements(
        mask.volumes_ml(), source, tmp_path / "seg.dcm", tmp_path / "sr.dcm", **made_by
    )
    return hd.sr.srread(tmp_path / "sr.dcm"), pydicom.dcmread(tmp_path / "seg.dcm"), source


def test_each_segment_has_its_volume_in_ml(report):
    document, seg, _ = report
    groups = document.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    expected = {"Niere": 12 * 0.5 * 0.75 * 2.5 / 1000, "not found": 0.0}
    for group, segment in zip(groups, seg.SegmentSequence, strict=True):
        (measurement,) = group.get_measurements()
        assert measurement.value == pytest.approx(expected[group.tracking_identifier], abs=1e-4)
        assert (measurement.name.meaning, measurement.unit.value) == ("Volume", "ml")
        assert group.tracking_uid == segment.TrackingUID
        (referenced,) = group.referenced_segment[0].ReferencedSOPSequence
        assert referenced.ReferencedSegmentNumber == segment.SegmentNumber
        assert referenced.ReferencedSOPInstanceUID == seg.SOPInstanceUID
    assert groups[0].finding_type.value == "64033007"


def test_what_was_not_found_is_said_to_be_absent(report):
    found, missing = report[0].content.get_volumetric_roi_measurement_groups()
    presence = hd.sr.CodedConcept("705057003", "SCT", "Presence")
    assert found.get_qualitative_evaluations(presence) == []
    (evaluation,) = missing.get_qualitative_evaluations(presence)
    assert evaluation.value.meaning == "Absent"


def test_it_belongs_to_the_study_and_names_its_evidence(report):
    document, seg, source = report
    assert document.StudyInstanceUID == source.study_uid
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in (
            *document.CurrentRequestedProcedureEvidenceSequence,
            *document.get("PertinentOtherEvidenceSequence", ()),
        )
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert seg.SOPInstanceUID in evidence


def test_a_segment_without_tracking_is_refused(tmp_path, series, report):
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    del seg.SegmentSequence[0].TrackingUID
    seg.save_as(tmp_path / "bare.dcm")
    with pytest.raises(InvalidSegmentation, match="TrackingUID"):
        write_measurements(
            {"Niere": 1.0, "not found": 0.0}, find_only_series(series), tmp_path / "bare.dcm",
            tmp_path / "again.dcm", algorithm="t", version="1",
        )  # fmt: skip
    assert not (tmp_path / "again.dcm").exists()
