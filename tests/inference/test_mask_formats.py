"""A predicted case leaves its mask in the format that was asked for, and what reading it took."""

import json
import shutil

import highdicom as hd
import numpy as np
import pydicom
import pytest
from small import make_bundle, make_volume
from typer.testing import CliRunner

from medseg.bundle import save_bundle
from medseg.cli.app import app
from medseg.errors import NoDicom
from medseg.inference.batch import predict_cases
from medseg.inference.inputs import find_inputs
from medseg.inference.predict import Predictor
from medseg.volume.dicom import read_series, write_series
from medseg.volume.dicom_rtstruct_read import read_structures
from medseg.volume.dicom_seg import read_segmentation
from medseg.volume.io import read_label_map


@pytest.fixture
def predictor(tmp_path):
    return Predictor(save_bundle(make_bundle(), tmp_path / "bundle"))


@pytest.fixture
def scan(tmp_path):
    write_series(make_volume(), tmp_path / "scan", patient_name="Doe^Jane", patient_id="1")
    return tmp_path / "scan"


def predicted(scan, predictor, out, **settings):
    (case,) = find_inputs([scan], allow_gaps=settings.pop("allow_gaps", False))
    (outcome,) = predict_cases([case], predictor, out, **settings)
    return case, outcome


def test_every_format_holds_the_same_mask(tmp_path, scan, predictor):
    case, _ = predicted(scan, predictor, tmp_path / "nifti")
    grid = read_series(case.series).geometry
    expected = read_label_map(tmp_path / "nifti" / "scan.nii.gz").array
    assert expected.any()
    for kind in ("binary", "fractional", "labelmap"):
        predicted(scan, predictor, tmp_path / kind, format="dicom-seg", seg_type=kind)
        seg = pydicom.dcmread(tmp_path / kind / "scan.dcm")
        assert seg.SegmentationType == kind.upper()
        again = read_segmentation(tmp_path / kind / "scan.dcm", reference=grid)
        assert np.array_equal(again.array, expected)
    predicted(scan, predictor, tmp_path / "rt", format="dicom-rtstruct")
    again = read_structures(tmp_path / "rt" / "scan.dcm", grid)
    assert np.array_equal(again.array, expected)


def test_volumes_lie_beside_a_segmentation(tmp_path, scan, predictor):
    out = tmp_path / "out"
    settings = {"format": "dicom-seg", "measurements": True}
    _, outcome = predicted(scan, predictor, out, **settings)
    assert outcome.reports == ("scan_volumes.dcm",)
    groups = hd.sr.srread(out / "scan_volumes.dcm").content.get_volumetric_roi_measurement_groups()
    volumes = {g.tracking_identifier: g.get_measurements()[0].value for g in groups}
    assert volumes == pytest.approx(outcome.volumes_ml, abs=1e-3)
    _, again = predicted(scan, predictor, out, resume=True, **settings)
    assert again.seconds == outcome.seconds
    (out / "scan_volumes.dcm").unlink()
    _, again = predicted(scan, predictor, out, resume=True, **settings)
    assert again.seconds != outcome.seconds
    assert (out / "scan_volumes.dcm").is_file()


def test_a_filled_gap_is_on_record(tmp_path, scan, predictor):
    sorted(scan.iterdir())[7].unlink()
    _, refused = predicted(scan, predictor, tmp_path / "out")
    assert refused.error.code == "dicom-missing-slice"
    _, outcome = predicted(scan, predictor, tmp_path / "out", allow_gaps=True)
    assert [remark.code for remark in outcome.remarks] == ["gaps"]
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert record["allow_gaps"] is True
    assert record["cases"][0]["remarks"][0]["code"] == "gaps"
    assert "1 of 22 slices are missing" in record["cases"][0]["remarks"][0]["text"]


def test_a_study_that_was_sent_twice_gives_one_result(tmp_path, scan, predictor):
    both = tmp_path / "both"
    shutil.copytree(scan, both / "first")
    shutil.copytree(scan, both / "second")
    (case,) = find_inputs([both])
    (outcome,) = predict_cases([case], predictor, tmp_path / "twice")
    predicted(scan, predictor, tmp_path / "once")
    assert [remark.code for remark in outcome.remarks] == ["copies"]
    once = read_label_map(tmp_path / "once" / "scan.nii.gz")
    twice = read_label_map(tmp_path / "twice" / outcome.file)
    assert np.array_equal(once.array, twice.array)
    assert once.geometry == twice.geometry


def test_a_tilted_series_gets_its_mask_on_its_own_slices(tmp_path, scan, predictor):
    for k, path in enumerate(sorted(scan.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient[1] += 0.25 * k
        dataset.save_as(path)
    _, outcome = predicted(scan, predictor, tmp_path / "out", format="dicom-seg")
    assert [remark.code for remark in outcome.remarks] == ["tilt"]
    seg = read_segmentation(tmp_path / "out" / "scan.dcm")
    assert not seg.geometry.is_orthogonal
    total, inside = sum(outcome.volumes_ml.values()), sum(seg.volumes_ml().values())
    assert 0.6 * total < inside <= total


def test_one_series_of_several_is_chosen(tmp_path, scan):
    write_series(make_volume(), tmp_path / "all" / "a", patient_name="A^B", patient_id="1")
    shutil.copytree(scan, tmp_path / "all" / "b")
    cases = find_inputs([tmp_path / "all"])
    assert len(cases) == 2
    wanted = cases[1].series.uid
    (one,) = find_inputs([tmp_path / "all"], series_uid=wanted[-12:])
    assert one.series.uid == wanted
    with pytest.raises(NoDicom, match="none whose UID ends in nothing"):
        find_inputs([tmp_path / "all"], series_uid="nothing")


@pytest.mark.parametrize(
    ("keyword", "code"),
    [("FrameOfReferenceUID", "dicom-no-geometry"), ("StudyInstanceUID", "dicom-seg")],
)
def test_a_series_that_no_mask_can_refer_to_is_refused_before_work(
    tmp_path, scan, predictor, keyword, code
):
    for path in scan.iterdir():
        dataset = pydicom.dcmread(path)
        delattr(dataset, keyword)
        dataset.save_as(path)
    _, outcome = predicted(scan, predictor, tmp_path / "out", format="dicom-seg")
    assert (outcome.status, outcome.error.code) == ("failed", code)
    _, outcome = predicted(scan, predictor, tmp_path / "nifti")
    assert outcome.status == "done"


@pytest.mark.parametrize("mask_format", ["dicom-seg", "dicom-rtstruct"])
def test_dicom_masks_are_scored_and_shown_as_any_other(tmp_path, scan, predictor, mask_format):
    predicted(scan, predictor, tmp_path / "nifti")
    measured = mask_format == "dicom-seg"
    _, outcome = predicted(
        scan, predictor, tmp_path / "dicom", format=mask_format, measurements=measured
    )
    assert bool(outcome.reports) == measured
    words = ["evaluate", tmp_path / "dicom", tmp_path / "nifti", "--out", tmp_path / "scores"]
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    cases = json.loads((tmp_path / "scores" / "scores.json").read_text())["cases"]
    assert [case["dice"] for case in cases] == [1.0, 1.0]
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(tmp_path / "dicom"), "--out", str(page)])
    assert result.exit_code == 0, result.output
    assert "organ 1" in page.read_text()
