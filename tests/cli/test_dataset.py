"""`medseg dataset` from the outside: exit codes, what is printed, and what is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medseg.cli.dataset import app
from medseg.dataset.description import load_description
from medseg.dataset.folds import load_folds


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images and labels of six cases, none of them alike."""
    root = tmp_path / "data"
    generator = np.random.default_rng(0)
    for n in range(6):
        labels = np.zeros((6, 5, 4), np.uint8)
        labels[1 : 3 + n // 2, 1:3, 1:3] = 1
        for name, array in (("images", generator.normal(size=labels.shape)), ("labels", labels)):
            (root / name).mkdir(parents=True, exist_ok=True)
            voxels = array.astype(np.float32 if name == "images" else np.uint8)
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), root / name / f"c{n}.nii.gz")
    return root


def medseg_dataset(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_import_writes_a_description(data, tmp_path):
    result = medseg_dataset("import", data, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "6 with a label, 0 without" in result.stdout
    assert len(load_description(tmp_path / "out").cases) == 6


def test_import_for_machines(data, tmp_path):
    result = medseg_dataset("import", data, "--out", tmp_path / "out", "--json")
    facts = json.loads(result.stdout)
    assert (facts["cases"], facts["labels"]) == (6, {"foreground": 1})
    assert Path(facts["written"]).is_file()


def test_import_of_no_data_set_is_one_sentence(tmp_path):
    result = medseg_dataset("import", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("error [dataset]:")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_check_of_a_sound_data_set(data):
    result = medseg_dataset("check", data)
    assert result.exit_code == 0
    assert "6 cases: 0 errors, 0 warnings." in result.stdout


def test_check_lists_all_faults_and_fails(data):
    (data / "images" / "c1.nii.gz").unlink()
    (data / "labels" / "c4.nii.gz").write_bytes(b"")
    (data / ".DS_Store").write_bytes(b"x")
    result = medseg_dataset("check", data)
    assert result.exit_code == 1
    assert "error: missing pair" in result.stdout
    assert "error: unreadable" in result.stdout
    assert "warning: stray file" in result.stdout
    assert "6 cases: 2 errors, 1 warning." in result.stdout
    assert "--skip-faulty" in result.stdout


def test_check_for_machines(data):
    (data / "images" / "c1.nii.gz").unlink()
    result = medseg_dataset("check", data, "--json")
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert (facts["errors"], facts["warnings"]) == (1, 0)
    assert facts["faults"][0]["case"] == "c1"
    assert set(facts["faults"][0]) == {"case", "kind", "what", "cure", "severity"}


def test_going_on_without_faulty_cases(data, tmp_path):
    (data / "images" / "c1.nii.gz").unlink()
    result = medseg_dataset("check", data, "--skip-faulty", "--out", tmp_path / "sound")
    assert result.exit_code == 0
    assert [case.id for case in load_description(tmp_path / "sound").cases] == [
        "c0",
        "c2",
        "c3",
        "c4",
        "c5",
    ]


def test_skipping_needs_a_place_to_write(data):
    result = medseg_dataset("check", data, "--skip-faulty")
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_split_writes_folds(data, tmp_path):
    out = tmp_path / "folds.json"
    result = medseg_dataset("split", data, "--out", out, "--folds", "3", "--seed", "7")
    assert result.exit_code == 0
    folds = load_folds(out)
    assert (folds.seed, [len(ids) for ids in folds.validation]) == (7, [2, 2, 2])
    again = medseg_dataset("split", data, "--out", out, "--folds", "3", "--seed", "7", "--json")
    assert json.loads(again.stdout)["validation"] == [list(ids) for ids in folds.validation]


def test_split_writes_beside_the_description(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    medseg_dataset("import", data, "--out", tmp_path / "described")
    for given in (tmp_path / "described", tmp_path / "described/medseg-dataset.json"):
        result = medseg_dataset("split", given, "--folds", "3")
        assert result.exit_code == 0, result.output
        assert load_folds(tmp_path / "described").count == 3
        (tmp_path / "described/folds.json").unlink()
    assert not (tmp_path / "folds.json").exists()


def test_split_of_what_is_not_described_needs_a_place_to_write(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = medseg_dataset("split", data)
    assert result.exit_code == 2
    assert "--out" in result.stderr
    assert medseg_dataset("split", tmp_path / "nowhere").exit_code == 1
    assert not list(tmp_path.rglob("folds.json"))


def test_split_of_what_is_read_only_needs_a_place_to_write(data, tmp_path, monkeypatch):
    medseg_dataset("import", data, "--out", tmp_path / "described")
    monkeypatch.setattr("medseg.cli.dataset.os.access", lambda _, mode: mode != os.W_OK)
    result = medseg_dataset("split", tmp_path / "described")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_split_into_too_many_folds_fails(data, tmp_path):
    result = medseg_dataset("split", data, "--out", tmp_path / "f.json", "--folds", "7")
    assert result.exit_code == 1
    assert "7 folds of 6 patients" in result.stderr
    assert not (tmp_path / "f.json").exists()


def test_split_into_one_fold_is_wrong_usage(data):
    assert medseg_dataset("split", data, "--folds", "1").exit_code == 2


def test_fetch_without_a_network_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    result = medseg_dataset(
        "fetch", "hippocampus", "--out", tmp_path / "x", "--url", "http://127.0.0.1:9/x.tar"
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("error [network]: A download needs the network")


def test_fetch_of_an_unknown_name_says_what_is_known(tmp_path):
    result = medseg_dataset("fetch", "liver", "--out", tmp_path)
    assert result.exit_code == 1
    assert "hippocampus" in result.stderr


def test_help_loads_nothing_heavy():
    heavy = ("numpy", "nibabel", "SimpleITK", "torch", "scipy")
    code = f"import sys, medseg.cli.dataset; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def test_export_for_nnu_net_with_the_folds_beside_the_description(data, tmp_path):
    out = tmp_path / "described"
    medseg_dataset("import", data, "--out", out)
    medseg_dataset("split", out, "--folds", "2")
    result = medseg_dataset("export", out, "--out", tmp_path / "raw", "--id", "42", "--json")
    facts = json.loads(result.stdout)
    assert (facts["linked"], facts["written"], facts["folds"]) == (12, 0, 2)
    folder = Path(facts["folder"])
    assert folder.name.startswith("Dataset042_")
    assert len(json.loads((folder / "splits_final.json").read_text())) == 2
    told = medseg_dataset("export", out, "--out", tmp_path / "raw", "--id", "42")
    assert "12 files linked, 0 written" in told.stdout
    assert "put splits_final.json into" in told.stdout


def test_export_without_folds_and_with_a_wrong_number(data, tmp_path):
    result = medseg_dataset("export", data, "--out", tmp_path / "raw", "--json")
    assert json.loads(result.stdout)["folds"] is None
    assert medseg_dataset("export", data, "--out", tmp_path, "--id", "1000").exit_code == 2
