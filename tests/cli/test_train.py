import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.durations import seconds_of
from medseg.cli.train import _configs, train

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(train)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six pictures with a bright disc, as images/ and labels/."""
    from medseg.volume.geometry import Geometry
    from medseg.volume.io import write_label_map, write_volume
    from medseg.volume.labels import Label
    from medseg.volume.volume import LabelMap, Volume

    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (24, 24, 12))
    generator = np.random.default_rng(0)
    for n in range(6):
        at = np.stack(np.indices(geometry.grid_size), axis=-1) - (9 + n, 12, 6)
        mask = (np.linalg.norm(at, axis=-1) < 5).astype(np.uint8)
        image = 100.0 * mask + generator.normal(scale=9.0, size=mask.shape)
        write_volume(
            Volume(image[None].astype(np.float32), geometry), tmp_path / f"raw/images/c{n}.nii.gz"
        )
        label_map = LabelMap(mask, geometry, (Label(value=1, name="disc"),))
        write_label_map(label_map, tmp_path / f"raw/labels/c{n}.nii.gz")
    return tmp_path / "raw"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5H", 5400), ("2d", 172800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-3m", "0s", "1h 30m", "soon"])
def test_what_is_no_duration_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="written like"):
        seconds_of(text)


def test_from_a_raw_folder_to_bundle_and_report(raw: Path, tmp_path: Path) -> None:
    words = [str(raw), "--out", str(tmp_path / "run"), "--epochs", "1", "--precision", "fp32"]
    outcome = CliRunner().invoke(app, [*words, "--device", "cpu", "--json"])
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert (tmp_path / "run/bundle/weights.safetensors").is_file()
    assert (tmp_path / "run/report.html").is_file()
    assert "mean" in facts["dice"]
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 1
    assert "error [training]" in again.stderr
    assert "--resume" in again.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--budget", "soon"],
        ["--budget", "1m", "--epochs", "2"],
        ["--epochs", "0"],
        ["--folds", "7"],
        ["--folds", "1,1"],
        ["--seed", "-1"],
        ["--precision", "int8"],
        ["--config", "4d"],
        ["--config", "2d,2d"],
        ["--config", "2d,auto"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["raw", "--out", str(tmp_path / "run"), *words])
    assert outcome.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--arch", "resnet"], "plan"),
        (["--resume"], "training-resume"),
        (["--plan", "nothing.json"], "file-missing"),
    ],
)
def test_what_fails_is_one_sentence(raw: Path, tmp_path: Path, words: list[str], code: str) -> None:
    outcome = CliRunner().invoke(app, [str(raw), "--out", str(tmp_path / "run"), *words])
    assert outcome.exit_code == 1
    assert f"error [{code}]" in outcome.stderr
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit)


@pytest.mark.parametrize(
    ("text", "wanted", "compared"),
    [
        ("auto", "auto", ()),
        ("3d_low", "3d_low", ()),
        ("cascade", "cascade", ()),
        ("3d_full, cascade", "auto", ("3d_full", "cascade")),
        ("2d, 3d_full", "auto", ("2d", "3d_full")),
        ("all", "auto", ("2d", "3d_full", "3d_low")),
    ],
)
def test_one_configuration_or_several(text: str, wanted: str, compared: tuple[str, ...]) -> None:
    assert _configs(text) == (wanted, compared)


def test_nothing_heavy_is_loaded_for_the_help() -> None:
    code = (
        "import sys, medseg.cli.train; print([m for m in sys.modules if m in ('torch', 'numpy')])"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert outcome.stdout.strip() == "[]"


def test_a_training_starts_from_a_bundle_or_says_why_it_cannot(raw: Path, tmp_path: Path) -> None:
    words = [str(raw), "--epochs", "1", "--precision", "fp32", "--device", "cpu"]
    first = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "one"), "--seed", "3"])
    assert first.exit_code == 0, first.output
    again = [*words, "--start-from", str(tmp_path / "one")]
    second = CliRunner().invoke(app, [*again, "--out", str(tmp_path / "two"), "--seed", "3"])
    assert second.exit_code == 0, second.output
    assert "Weights start from raw " in " ".join(second.stderr.split())
    origin = json.loads((tmp_path / "two/bundle/bundle.json").read_text())["provenance"]
    assert origin["started_from"].startswith("raw ")
    other = CliRunner().invoke(app, [*again, "--out", str(tmp_path / "three"), "--arch", "unet"])
    assert other.exit_code == 1
    assert "error [bundle]:" in other.stderr
    assert "own kind" in " ".join(other.stderr.split())
    nowhere = [*words, "--start-from", str(tmp_path / "none"), "--out", str(tmp_path / "four")]
    missing = CliRunner().invoke(app, nowhere)
    assert missing.exit_code == 1
    assert "error [bundle-unknown]:" in missing.stderr
    assert not (tmp_path / "four").exists()
