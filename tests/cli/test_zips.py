"""A zip of DICOM stands for the folder that was packed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.inference.inputs import find_inputs
from medseg.volume.dicom import write_series
from medseg.volume.dicom_zip import as_folder
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_volume
from medseg.volume.volume import Volume


@pytest.fixture
def volume():
    values = np.random.default_rng(0).integers(0, 900, (1, 6, 7, 5)).astype(np.int16)
    return Volume(values, Geometry.from_spacing((1, 2, 5), (6, 7, 5)))


@pytest.fixture
def packed(tmp_path, volume):
    write_series(
        volume, tmp_path / "in" / "T1", modality="MR", patient_name="A^B", patient_id="1",
        series_description="T1",
    )  # fmt: skip
    return shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "in")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_info_lists_its_series(packed):
    outcome = run("info", packed, "--json")
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert (facts["kind"], facts["path"]) == ("dicom", packed)
    assert [one["grid_size"] for one in facts["series"]] == [[6, 7, 5]]


def test_convert_reads_it_as_source_and_as_reference(packed, tmp_path, volume):
    assert run("convert", packed, tmp_path / "a.nii.gz").exit_code == 0
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").reoriented("RAS").array, volume.array)
    coarse = Volume(volume.array[..., ::2], Geometry.from_spacing((1, 2, 10), (6, 7, 3)))
    write_volume(coarse, tmp_path / "b.nii.gz")
    outcome = run("convert", tmp_path / "b.nii.gz", tmp_path / "c.nii.gz", "--reference", packed)
    assert outcome.exit_code == 0, outcome.output
    assert read_volume(tmp_path / "c.nii.gz").geometry.grid_size == (6, 7, 5)


def test_predict_takes_its_series_as_a_case_of_its_name(packed, volume):
    with as_folder(Path(packed)) as folder:
        (case,) = find_inputs([folder])
        assert case.id == "study"
        assert case.read().array.shape == volume.array.shape


@pytest.mark.parametrize("content", [b"PK\x03\x04 and then nothing", b"PK\x05\x06" + bytes(18)])
@pytest.mark.parametrize("command", ["info", "convert"])
def test_a_zip_that_is_broken_or_empty_is_told_in_one_sentence(tmp_path, content, command):
    (tmp_path / "study.zip").write_bytes(content)
    out = [tmp_path / "x.nii.gz"] if command == "convert" else []
    outcome = run(command, tmp_path / "study.zip", *out)
    assert outcome.exit_code == 1
    assert "study" in outcome.stderr
    assert "Traceback" not in outcome.output
