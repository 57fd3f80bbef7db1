import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.volume.dicom import find_only_series, read_series_geometry, write_series
from medseg.volume.dicom_rtstruct import write_structures
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

BASIC_TEXT_REPORT = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture
def volume() -> Volume:
    values = np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5) % 3
    return Volume(values, Geometry.from_spacing((1, 2, 5), (3, 4, 5)))


@pytest.fixture
def series(tmp_path, volume):
    folder = tmp_path / "series"
    write_series(
        volume,
        folder,
        modality="MR",
        patient_name="A^B",
        patient_id="1",
        series_description="T1 [axial]",
    )
    return folder


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def as_json(*words):
    outcome = run(*words, "--json")
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def test_an_image_has_its_grid_and_statistics(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nii.gz")
    facts = as_json("info", tmp_path / "a.nii.gz")
    assert (facts["kind"], facts["format"], facts["dtype"]) == ("image", "nifti", "int16")
    assert facts["grid_size"] == [3, 4, 5]
    assert facts["spacing_mm"] == [1, 2, 5]
    assert facts["channels"][0] == {
        "name": "image",
        "minimum": 0,
        "mean": 1,
        "maximum": 2,
        "not_finite": 0,
    }
    text = run("info", tmp_path / "a.nii.gz").stdout
    assert "3 x 4 x 5 voxels of 1 x 2 x 5 mm" in text
    assert "1: 20 voxels, 0.2 ml" in text


def test_a_series_has_its_grid_or_its_refusal(series, volume):
    facts = as_json("info", series)
    assert facts["series"][0]["grid_size"] == [3, 4, 5]
    assert facts["series"][0]["description"] == "T1 [axial]"
    (series / "0002.dcm").unlink()
    assert as_json("info", series)["series"][0]["refused"]["code"] == "dicom-missing-slice"
    assert "dicom-missing-slice" in run("info", series).stdout.replace("\n", "")


def test_a_segmentation_has_its_volumes(tmp_path, series):
    one = find_only_series(series)
    geometry = read_series_geometry(one)
    array = np.zeros(geometry.grid_size, np.uint8)
    array[0, 0, :2] = 1
    label_map = LabelMap(array, geometry, (Label(value=1, name="Cyst"),))
    write_segmentation(label_map, one, tmp_path / "s.dcm", algorithm="test", version="1")
    facts = as_json("info", tmp_path / "s.dcm")
    assert facts["kind"] == "dicom-seg"
    assert facts["volumes_ml"] == {"Cyst": pytest.approx(0.02)}


def test_a_series_with_a_gap_can_be_shown_filled(series):
    (series / "0002.dcm").unlink()
    (one,) = as_json("info", series, "--allow-gaps")["series"]
    assert one["grid_size"] == [3, 4, 5]
    assert [remark["code"] for remark in one["remarks"]] == ["gaps"]


def test_a_structure_set_has_its_names(tmp_path, series):
    one = find_only_series(series)
    array = np.zeros((3, 4, 5), np.uint8)
    array[:, :, :2] = 1
    label_map = LabelMap(array, read_series_geometry(one), (Label(value=1, name="Cyst"),))
    write_structures(label_map, one, tmp_path / "rs.dcm", algorithm="test", version="1")
    facts = as_json("info", tmp_path / "rs.dcm")
    assert facts["kind"] == "rtstruct"
    assert facts["series"] == one.uid
    assert facts["structures"] == [{"name": "Cyst", "contours": 2}]
    assert "Cyst" in run("info", tmp_path / "rs.dcm").stdout


def test_what_is_not_there_or_unknown_is_one_sentence(tmp_path):
    outcome = run("info", tmp_path / "nowhere")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error [file-missing]: A file, a folder or a built-in bundle")
    (tmp_path / "a.txt").write_text("text")
    outcome = run("info", tmp_path / "a.txt")
    assert (outcome.exit_code, outcome.stderr[:20]) == (1, "error [file-format]:")


def test_a_bundle_that_was_spoilt_is_one_sentence(tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    outcome = run("info", tmp_path)
    assert (outcome.exit_code, outcome.stderr[:23]) == (1, "error [bundle-corrupt]:")


@pytest.mark.parametrize("folder", [True, False])
def test_dicom_without_an_image_is_refused(tmp_path, series, folder):
    report = pydicom.dcmread(series / "0001.dcm")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BASIC_TEXT_REPORT
    (tmp_path / "reports").mkdir()
    report.save_as(tmp_path / "reports/report.dcm")
    outcome = run("info", tmp_path / ("reports" if folder else "reports/report.dcm"))
    assert (outcome.exit_code, outcome.stderr[:20]) == (1, "error [dicom-none]: ")
    assert "1 x Basic Text SR Storage" in outcome.stderr


@pytest.mark.parametrize("command", ["info", "convert", "predict"])
@pytest.mark.parametrize("size", [5, 999])
def test_a_file_called_dcm_without_its_header_is_no_whole_dicom_file(tmp_path, command, size):
    (tmp_path / "x.dcm").write_bytes(b"x" * size)
    after = {
        "info": (), "convert": (tmp_path / "y.nii",),
        "predict": ("--model", "hippocampus-mr", "--out", tmp_path / "out"),
    }[command]  # fmt: skip
    outcome = run(command, tmp_path / "x.dcm", *after)
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error [file-unreadable]: ")
    assert "must be a whole DICOM file" in outcome.stderr


@pytest.mark.data
def test_a_data_set_has_its_cases(data_root):
    facts = as_json("info", data_root / "Task04_Hippocampus")
    assert facts["cases"] == "180 with label, 1 without"


def test_a_bundle_shows_all_its_configurations_and_what_follows(tmp_path):
    import medseg

    box = next((Path(medseg.__file__).parent / "models").glob("*/bundle.json"))
    facts = json.loads(box.read_text())
    facts["further"] = [{"plan": facts["plan"] | {"config": "2d"}, "members": 1}]
    facts["postprocessing"] = [
        {"kind": "minimum_volume", "structure": "Anterior", "volume_ml": 0.02},
        {"kind": "filled_holes", "structure": "Posterior"},
    ]
    (tmp_path / "bundle.json").write_text(json.dumps(facts))
    outcome = run("info", tmp_path)
    assert outcome.exit_code == 0, outcome.stderr
    assert "3d_full, " in outcome.stdout
    assert "2d, " in outcome.stdout
    assert "minimum volume of Anterior, 0.02 ml" in outcome.stdout
    assert "filled holes of Posterior" in outcome.stdout


def test_a_bundle_shows_the_first_stage_of_a_cascade(tmp_path):
    import medseg

    box = next((Path(medseg.__file__).parent / "models").glob("*/bundle.json"))
    facts = json.loads(box.read_text())
    facts["first_stage"] = {"plan": facts["plan"] | {"config": "3d_low"}, "members": 3}
    facts["plan"] = facts["plan"] | {"config": "cascade"}
    (tmp_path / "bundle.json").write_text(json.dumps(facts))
    outcome = run("info", tmp_path)
    assert outcome.exit_code == 0, outcome.stderr
    assert "cascade, " in outcome.stdout
    assert "first stage, plan" in outcome.stdout
    assert "3d_low, " in outcome.stdout


def test_a_bundle_shows_its_engines(tmp_path):
    import medseg

    box = next((Path(medseg.__file__).parent / "models").glob("*/bundle.json"))
    (tmp_path / "bundle.json").write_bytes(box.read_bytes())
    record = {"kind": "openvino", "precision": "int8", "patch_ms": 8.1, "torch_ms": 31.0,
              "accuracy": {"dice": {"change": -0.0004}}}  # fmt: skip
    for precision, accuracy in (("fp32", None), ("int8", record["accuracy"])):
        (tmp_path / "openvino" / precision).mkdir(parents=True)
        text = json.dumps(record | {"precision": precision, "accuracy": accuracy})
        (tmp_path / "openvino" / precision / "engine.json").write_text(text)
    shown = run("info", tmp_path).stdout
    assert "openvino fp32: 8.1 ms a patch, torch 31 ms" in shown
    assert "openvino int8: 8.1 ms a patch, torch 31 ms, Dice -0.0004" in shown
    engines = as_json("info", tmp_path)["engines"]
    assert [one["precision"] for one in engines] == ["fp32", "int8"]
    (tmp_path / "openvino" / "int8" / "engine.json").write_text("{")
    assert "error [bundle-corrupt]" in run("info", tmp_path).stderr
