"""`medseg plan` from the outside."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from medseg.cli.plan import plan
from medseg.dataset.plan import load_plan

MACHINE = ("--device", "cpu", "--memory", "2G", "--gflops", "100")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images and labels of three cases of 20 x 24 x 18 voxels."""
    generator = np.random.default_rng(0)
    for n in range(3):
        labels = np.zeros((20, 24, 18), np.uint8)
        labels[6:12, 8:16, 5:9] = 1
        for name, array in (("images", generator.normal(size=labels.shape)), ("labels", labels)):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            voxels = array.astype(np.float32 if name == "images" else np.uint8)
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "data" / name / f"c{n}.nii.gz")
    return tmp_path / "data"


def medseg_plan(*words: str | Path) -> Result:
    app = typer.Typer()
    app.command()(plan)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_table_says_what_and_why(data):
    result = medseg_plan(data, *MACHINE, "--budget", "15m")
    assert result.exit_code == 0
    for word in ("what", "decision", "why", "spacing", "patch", "network", "batch", "optimiser"):
        assert word in result.stdout


def test_the_plan_is_written_and_printed_for_machines(data, tmp_path):
    out = tmp_path / "plan.json"
    result = medseg_plan(data, *MACHINE, "--budget", "1h30m", "--out", out, "--json")
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    every = printed.pop("configurations")
    assert printed == json.loads(out.read_text())
    assert [one["config"] for one in every] == ["2d", "3d_full", "3d_low", "cascade"]
    assert [one["config"] for one in every if one["chosen"]] == ["3d_full"]
    decided = load_plan(out)
    assert decided.budget.seconds == 5400
    assert decided.budget.memory_bytes == 2 << 30
    assert decided.budget.gflops == 100


def test_all_configurations_are_shown_and_what_is_not_planned_says_why(data):
    result = medseg_plan(data, *MACHINE, "--budget", "15m")
    said = " ".join(result.stdout.split())
    assert "Configurations for data" in said
    assert "Taken by --config auto." in said
    assert "3d_low: not planned. Full resolution already fits: its patch sees 100 %" in said
    for word in ("patch", "spacing, mm", "weights", "memory", "seconds per step"):
        assert word in said
    assert "Plan of 3d_full for data" in said


def test_a_coarser_resolution_that_is_not_needed_is_refused(data):
    result = medseg_plan(data, *MACHINE, "--config", "3d_low")
    assert result.exit_code == 1
    assert "full resolution already fits" in result.output


def test_a_preset_is_of_the_residual_encoder(data):
    decided = json.loads(medseg_plan(data, *MACHINE, "--preset", "l", "--json").stdout)
    assert (decided["network"]["kind"], decided["budget"]["preset"]) == ("resenc_unet", "l")
    words = (*MACHINE, "--preset", "l", "--arch", "plain_unet", "--json")
    assert json.loads(medseg_plan(data, *words).stdout)["network"]["kind"] == "plain_unet"


def test_slices_and_epochs_on_request(data):
    result = medseg_plan(data, *MACHINE, "--epochs", "3", "--config", "2d", "--json")
    decided = json.loads(result.stdout)
    assert decided["config"] == "2d"
    assert decided["budget"]["epochs"] == 3
    assert decided["budget"]["seconds"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--budget", "soon"), "15m"),
        (("--memory", "lots"), "8G"),
        (("--memory", "0G"), "8G"),
        (("--budget", "1h", "--epochs", "3"), "not both"),
        (("--config", "4d"), "4d"),
    ],
)
def test_wrong_usage(data, words, sentence):
    result = medseg_plan(data, *MACHINE, *words)
    assert result.exit_code == 2
    assert sentence in result.output


def test_what_cannot_be_planned_is_one_sentence(data, tmp_path):
    assert medseg_plan(tmp_path / "nothing", *MACHINE).exit_code == 1
    result = medseg_plan(data, "--device", "cpu", "--memory", "64K", "--gflops", "1")
    assert result.exit_code == 1
    assert "error [plan]: A training step of the smallest network must fit" in result.output
    assert "Traceback" not in result.output


def test_for_a_known_machine_torch_is_not_loaded(data):
    program = (
        "import sys, typer; from medseg.cli.plan import plan; app = typer.Typer(); "
        "app.command()(plan); app(standalone_mode=False); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(data), *MACHINE, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
