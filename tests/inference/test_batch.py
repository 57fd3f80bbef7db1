"""Many cases: one that fails stops no other, and what was done is on record."""

import json
import os
import threading

import numpy as np
import pytest
from small import make_bundle, make_plan, make_volume

from medseg.bundle import load_bundle, save_bundle
from medseg.errors import CannotWrite
from medseg.inference.batch import mask_name, predict_cases
from medseg.inference.inputs import CaseInput, find_inputs
from medseg.inference.predict import Predictor
from medseg.volume.dicom import read_series, write_series
from medseg.volume.io import read_label_map, write_volume
from medseg.volume.pictures import picture_geometry
from medseg.volume.volume import Volume


@pytest.fixture
def cases(tmp_path):
    """Three NIfTI files, one of them empty."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "c"):
        write_volume(make_volume(), folder / f"{name}.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"")
    return find_inputs([folder])


@pytest.fixture
def predictor(tmp_path):
    return Predictor(save_bundle(make_bundle(), tmp_path / "bundle"))


@pytest.fixture
def scans(tmp_path):
    """Two DICOM series of two studies."""
    for name in ("one", "two"):
        write_series(
            make_volume(), tmp_path / "dicom" / name, patient_name="Doe^Jane", patient_id=name
        )
    return tmp_path / "dicom"


def record(out):
    return json.loads((out / "predictions.json").read_text())


def test_a_failed_case_stops_no_other(tmp_path, cases, predictor):
    outcomes = predict_cases(cases, predictor, tmp_path / "out")
    assert [(x.case, x.status) for x in outcomes] == [
        ("a", "done"), ("b", "failed"), ("c", "done"),
    ]  # fmt: skip
    assert outcomes[1].error.code == "file-unreadable"
    expected = predictor.predict(make_volume()).label_map
    for name in "ac":
        found = read_label_map(tmp_path / "out" / f"{name}.nii.gz", expected.labels)
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.geometry.same_space(expected.geometry)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a.nii.gz", "c.nii.gz", "predictions.json",
    ]  # fmt: skip


def test_the_record_says_what_and_with_what(tmp_path, cases, predictor):
    predict_cases(cases, predictor, tmp_path / "out")
    content = record(tmp_path / "out")
    assert content["bundle"]["weights_sha256"] == predictor.bundle.weights_sha256
    assert content["labels"] == {"organ 1": 1, "organ 2": 2}
    first, second, _ = content["cases"]
    assert first["file"] == "a.nii.gz"
    assert set(first["volumes_ml"]) == {"organ 1", "organ 2"}
    assert 0 < first["quality"]["score"] < 1
    assert first["seconds"] > 0
    assert second["error"]["code"] == "file-unreadable"
    assert "file" not in second


def test_resume_keeps_what_is_done_and_nothing_else(tmp_path, cases, predictor, monkeypatch):
    out = tmp_path / "out"
    predict_cases(cases, predictor, out)
    write_volume(make_volume((18, 18, 18)), cases[1].images[0])
    seen = []
    original = Predictor.predict_from

    def counted(self, read, **words):
        volume = read()
        seen.append(volume.source.paths[0].name)
        return original(self, lambda: volume, **words)

    monkeypatch.setattr(Predictor, "predict_from", counted)
    outcomes = predict_cases(cases, predictor, out, resume=True)
    assert seen == ["b.nii.gz"]
    assert [x.status for x in outcomes] == ["done"] * 3
    assert outcomes == predict_cases(cases, predictor, out, resume=True)

    seen.clear()
    (out / "a.nii.gz").unlink()
    later = (out / "c.nii.gz").stat().st_mtime + 10
    os.utime(cases[2].images[0], (later, later))
    predict_cases(cases, predictor, out, resume=True)
    assert seen == ["a.nii.gz", "c.nii.gz"]


def test_resume_starts_anew_with_another_bundle_or_setting(tmp_path, cases, predictor):
    out = tmp_path / "out"
    before = predict_cases(cases, predictor, out)
    mirrored = Predictor(predictor.bundle, mirrors=True)
    after = predict_cases(cases, mirrored, out, resume=True)
    assert after[0].seconds != before[0].seconds
    (out / "predictions.json").write_text("{broken")
    again = predict_cases(cases, mirrored, out, resume=True)
    assert again[0].seconds != after[0].seconds


def test_dicom_becomes_dicom_seg_and_nifti_alike(tmp_path, scans, predictor):
    from medseg.volume.dicom_seg import read_segmentation

    cases = find_inputs([scans])
    predict_cases(cases, predictor, tmp_path / "seg", format="dicom-seg")
    predict_cases(cases, predictor, tmp_path / "nifti")
    for case in cases:
        grid = read_series(case.series).geometry
        seg = read_segmentation(tmp_path / "seg" / f"{case.id}.dcm", reference=grid)
        nifti = read_label_map(tmp_path / "nifti" / f"{case.id}.nii.gz")
        assert nifti.array.any()
        np.testing.assert_array_equal(seg.array, nifti.array)


def test_dicom_seg_of_a_file_is_refused(tmp_path, cases, predictor):
    outcomes = predict_cases(cases, predictor, tmp_path / "out", format="dicom-seg")
    assert {x.error.code for x in outcomes} == {"dicom-seg"}


def test_a_series_is_refused_beside_a_good_one_of_its_study_only(tmp_path, scans, predictor):
    cases = find_inputs([scans])
    (broken, good) = cases
    victim = sorted(broken.images)[1]
    victim.unlink()
    cases = find_inputs([scans])
    outcomes = predict_cases(cases, predictor, tmp_path / "out")
    assert [x.status for x in outcomes] == ["failed", "done"]
    same_study = [
        CaseInput(c.id, c.images, type(c.series)(**(vars(c.series) | {"study_uid": "1.2"})))
        for c in cases
    ]
    outcomes = predict_cases(same_study, predictor, tmp_path / "out")
    assert [x.status for x in outcomes] == ["refused", "done"]
    assert record(tmp_path / "out")["cases"][0]["error"]["code"] == "dicom-missing-slice"
    assert good.id == "two"


@pytest.mark.parametrize(
    ("name", "mask_format", "expected"),
    [
        ("a.nii.gz", "nifti", "a.nii.gz"),
        ("a.png", "nifti", "a.nii.gz"),
        ("a.nii", "same", "a.nii"),
        ("a.png", "same", "a.png"),
        ("a.JPG", "same", "a.png"),
        ("a.mha", "same", "a.mha"),
    ],
)
def test_masks_are_named_by_their_case(tmp_path, name, mask_format, expected):
    case = CaseInput("a", (tmp_path / name,))
    assert mask_name(case, mask_format) == expected


def test_a_2d_picture_keeps_its_format(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    pixels = make_volume((20, 24, 1)).array.clip(0, 255).astype(np.uint8)
    write_volume(Volume(pixels, picture_geometry((20, 24, 1))), folder / "a.png")
    predictor = Predictor(make_bundle(make_plan(dims=2)))
    predict_cases(find_inputs([folder]), predictor, tmp_path / "out", format="same")
    assert read_label_map(tmp_path / "out" / "a.png").array.shape == (20, 24, 1)


def test_an_interruption_leaves_whole_files_and_a_record(tmp_path, cases, predictor, monkeypatch):
    original = Predictor.predict_from
    calls = []

    def interrupted(self, volume, **words):
        calls.append(volume)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, volume, **words)

    monkeypatch.setattr(Predictor, "predict_from", interrupted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_cases(cases, predictor, out)
    left = {path.name for path in out.iterdir()}
    assert left <= {"a.nii.gz", "predictions.json"}
    assert not [t for t in threading.enumerate() if t.name.startswith(("read", "write"))]
    monkeypatch.setattr(Predictor, "predict_from", original)
    outcomes = predict_cases(cases, predictor, out, resume=True)
    assert [x.status for x in outcomes] == ["done", "failed", "done"]


def test_a_place_that_cannot_be_written_stops_before_any_work(tmp_path, cases, predictor):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(CannotWrite, match=r"predictions\.json"):
        predict_cases(cases, predictor, tmp_path / "out")


def test_a_bundle_in_memory_is_never_resumed(tmp_path, cases):
    predictor = Predictor(make_bundle())
    out = tmp_path / "out"
    before = predict_cases(cases, predictor, out)
    assert predict_cases(cases, predictor, out, resume=True)[0].seconds != before[0].seconds


def test_a_saved_bundle_predicts_as_the_one_in_memory(tmp_path, predictor, volume):
    again = Predictor(load_bundle(tmp_path / "bundle")).predict(volume)
    np.testing.assert_array_equal(again.label_map.array, predictor.predict(volume).label_map.array)
