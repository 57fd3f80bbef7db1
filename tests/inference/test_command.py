"""`medseg predict`, as a user types it."""

import json

import numpy as np
import pytest
import typer
from small import make_bundle, make_plan, make_volume
from typer.testing import CliRunner

from medseg.bundle import save_bundle
from medseg.cli.predict import predict
from medseg.dataset.plan import Plan
from medseg.specs import AugmentSpec
from medseg.volume.dicom import find_series, read_series, write_series
from medseg.volume.dicom_seg import read_segmentation
from medseg.volume.io import read_label_map, write_volume

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(predict)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def model(tmp_path):
    save_bundle(make_bundle(), tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def scan(tmp_path):
    write_volume(make_volume(), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_it_prints_a_table(tmp_path, scan, model):
    result = run(scan, "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "organ 1, ml" in result.stdout
    assert "1 masks and predictions.json are in" in result.stdout
    assert (tmp_path / "out" / "scan.nii.gz").is_file()


def test_machines_get_one_object(tmp_path, scan, model):
    result = run(scan, "--model", model, "--out", tmp_path / "out", "--json")
    content = json.loads(result.stdout)
    (case,) = content["cases"]
    assert case["case"] == "scan"
    assert case["status"] == "done"
    assert set(case["volumes_ml"]) == {"organ 1", "organ 2"}


def test_a_failed_case_is_one_coded_sentence_and_exit_1(tmp_path, scan, model):
    (tmp_path / "bad.nii.gz").write_bytes(b"")
    result = run(scan, tmp_path / "bad.nii.gz", "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "error [file-unreadable]: bad:" in result.stderr
    assert (tmp_path / "out" / "scan.nii.gz").is_file()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere", "--model", "BUNDLE"], "file-missing"),
        (["SCAN", "--model", "nothing-of-this-name"], "bundle-unknown"),
        (["SCAN", "--model", "BUNDLE", "--engine", "openvino"], "engine-missing"),
    ],
)
def test_what_stops_all_is_one_coded_sentence(tmp_path, scan, model, words, code):
    words = [{"SCAN": scan, "BUNDLE": model}.get(word, word) for word in words]
    result = run(*words, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"error [{code}]:" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_wrong_word_is_wrong_usage(tmp_path, scan, model):
    result = run(scan, "--model", model, "--out", tmp_path, "--format", "bmp")
    assert result.exit_code == 2


def test_tta_without_mirrors_is_said(tmp_path, scan):
    plan = make_plan()
    facts = plan.model_dump() | {"augment": AugmentSpec(mirror={"axes": ()}).model_dump()}
    save_bundle(make_bundle(Plan.model_validate(facts)), tmp_path / "bundle")
    result = run(scan, "--model", tmp_path / "bundle", "--out", tmp_path / "out", "--tta")
    assert "--tta changes nothing" in result.stderr


@pytest.mark.data
def test_real_dicom_gives_the_mask_that_its_nifti_gives(tmp_path, data_root, model):
    folder = data_root / "dicom_hippocampus"
    result = run(folder, "--model", model, "--out", tmp_path / "seg", "--format", "dicom-seg")
    assert result.exit_code == 0, result.output
    found = find_series(folder)
    assert len(found) == 2
    for series in found:
        name = series.paths[0].parent.name
        scan = read_series(series)
        seg = read_segmentation(tmp_path / "seg" / f"{name}.dcm", reference=scan.geometry)
        write_volume(scan.reoriented("RAS"), tmp_path / "nifti" / f"{name}.nii.gz")
        run(tmp_path / "nifti", "--model", model, "--out", tmp_path / "masks")
        mask = read_label_map(tmp_path / "masks" / f"{name}.nii.gz")
        assert mask.geometry.orientation == "RAS"
        np.testing.assert_array_equal(seg.reoriented("RAS").array, mask.array)
        assert len(np.unique(mask.array)) > 1


@pytest.mark.data
def test_the_bundle_in_the_box_segments_real_dicom_the_right_way_up(tmp_path, data_root):
    from medseg.bundle import builtin_bundles

    if "hippocampus-mr" not in builtin_bundles():
        pytest.skip("this checkout has no bundle in the box")
    folder = data_root / "dicom_hippocampus"
    result = run(folder, "--model", "hippocampus-mr", "--out", tmp_path, "--format", "dicom-seg")
    assert result.exit_code == 0, result.output
    for series in find_series(folder):
        seg = read_segmentation(tmp_path / f"{series.paths[0].parent.name}.dcm")
        volumes = seg.volumes_ml()
        assert all(1 < ml < 3 for ml in volumes.values()), volumes
        anterior, posterior = (
            seg.geometry.index_to_world(np.argwhere(seg.mask(label)).astype(float)).mean(axis=0)
            for label in seg.labels
        )
        assert [label.name for label in seg.labels] == ["Anterior", "Posterior"]
        assert anterior[1] > posterior[1] + 5


def test_dicom_options_reach_the_outcome(tmp_path, model):
    write_series(make_volume(), tmp_path / "scan", patient_name="A^B", patient_id="1")
    sorted((tmp_path / "scan").iterdir())[5].unlink()
    words = (tmp_path / "scan", "--model", model, "--out", tmp_path / "out")
    assert run(*words).exit_code == 1
    result = run(*words, "--allow-gaps", "--format", "dicom-seg", "--measurements", "--json")
    assert result.exit_code == 0, result.output
    (case,) = json.loads(result.stdout)["cases"]
    assert case["remarks"][0]["code"] == "gaps"
    assert case["reports"] == ["scan_volumes.dcm"]
    assert (tmp_path / "out" / "scan_volumes.dcm").is_file()


def test_measurements_without_a_segmentation_are_wrong_usage(tmp_path, scan, model):
    result = run(scan, "--model", model, "--out", tmp_path / "out", "--measurements")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
