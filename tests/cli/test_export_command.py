"""`medseg export` and `medseg quantize`, as a user types them."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medseg.bundle import load_bundle
from medseg.cli.export import export
from medseg.cli.quantize import quantize
from medseg.compression import export as exporting
from medseg.compression import quantize as quantizing
from medseg.errors import EngineDiffers
from medseg.inference.exported import (
    Accuracy,
    Compared,
    EngineFile,
    EngineRecord,
    Exported,
    Parity,
    Place,
    Quantisation,
)

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(export)
app.command()(quantize)

DICE = Compared(torch=0.8895, engine=0.8891, change=-0.0004, ci_low=-0.001, ci_high=0.0002)
RECORD = EngineRecord(
    kind="openvino",
    precision="int8",
    weights_sha256="0",
    place=Place.here("openvino 2026"),
    created="2026-01-01",
    files={"0.xml": EngineFile(sha256="0", bytes=2_500_000)},
    networks=1,
    parity=Parity(
        patches=4, source="Hippocampus", against="fake quantisation", largest_logit=20,
        largest_difference=0.3, root_mean_square=0.04, dice=0.9993,
    ),
    patch_ms=14.7,
    torch_ms=71,
    threads=1,
    quantisation=Quantisation(
        data="Hippocampus", patches=32, layers=13, kept={"heads.0": "it gives the logits"},
        untrained=Accuracy(cases=("a",), data="Hippocampus", are_held_out=True, dice=DICE),
    ),
    accuracy=Accuracy(
        cases=("a", "b"), data="Hippocampus", are_held_out=False, dice=DICE,
        hd95_mm=Compared(torch=1.0, engine=1.25, change=0.25),
    ),
)  # fmt: skip


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def asked(monkeypatch):
    """What the work was asked for; the work itself is tested elsewhere."""
    seen = {}

    def answer(bundle, *words, **more):
        seen.update(bundle=bundle, words=words, **more)
        return Exported(Path("there"), RECORD)

    monkeypatch.setattr(exporting, "export", answer)
    monkeypatch.setattr(quantizing, "quantize", answer)
    return seen


def test_a_table_says_what_it_is_worth(asked):
    result = run("export", "hippocampus-mr", "--to", "openvino", "--precision", "int8")
    assert result.exit_code == 0, result.output
    for words in (
        "Exported: openvino int8", "2.5 MB", "14.7 ms; torch in float32 71 ms", "Dice 0.9993",
        "13, as the runtime", "heads.0 (it gives the logits)", "1.25 for 1.00 in torch",
        "0.8891 for 0.8895 in torch", "(-0.0010 to +0.0002)", "their Dice is too high",
    ):  # fmt: skip
        assert words in " ".join(result.stdout.split()), words
    (settings,) = asked["words"]
    assert (settings.kind, settings.precision, settings.max_dice_loss) == (
        "openvino",
        "int8",
        0.005,
    )
    assert asked["bundle"].identity == load_bundle("hippocampus-mr").identity
    assert asked["data"] is None


def test_machines_get_the_record(asked):
    result = run("export", "hippocampus-mr", "--to", "onnx", "--json")
    content = json.loads(result.stdout)
    assert content["folder"] == "there"
    assert content["accuracy"]["dice"]["ci_low"] == -0.001


def test_what_differs_ends_with_one_sentence(monkeypatch):
    def differs(*words, **more):
        raise EngineDiffers("An engine gives the logits.", received="others", cure="Take fp32.")

    monkeypatch.setattr(exporting, "export", differs)
    result = run("export", "hippocampus-mr", "--to", "onnx")
    assert result.exit_code == 1
    assert "error [engine-differs]: An engine gives the logits. Received: others." in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("export", "hippocampus-mr"),
        ("export", "hippocampus-mr", "--to", "tflite"),
        ("export", "hippocampus-mr", "--to", "onnx", "--precision", "int4"),
        ("export", "hippocampus-mr", "--to", "onnx", "--max-dice-loss", "2"),
        ("quantize", "hippocampus-mr", "--out", "out"),
        ("quantize", "hippocampus-mr", "--data", ".", "--out", "out", "--budget", "soon"),
    ],
)
def test_wrong_usage_is_exit_2(words):
    assert run(*words).exit_code == 2


def test_int8_without_data_is_a_coded_sentence():
    result = run("export", "hippocampus-mr", "--to", "openvino", "--precision", "int8")
    assert result.exit_code == 1
    assert "error [engine-missing]: INT8 is calibrated on images" in result.stderr


def test_quantize_passes_on_what_is_wanted(asked, monkeypatch, tmp_path):
    monkeypatch.setattr("medseg.dataset.importers.open_dataset", lambda path, progress: path)
    result = run(
        "quantize", "hippocampus-mr", "--data", tmp_path, "--out", tmp_path / "out", "--qat",
        "--budget", "90s", "--cases", 7,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    data, out, settings = asked["words"]
    assert (data, out) == (tmp_path, tmp_path / "out")
    assert (settings.train, settings.seconds, settings.cases) == (True, 90.0, 7)
    assert "before training: Dice 0.8891" in " ".join(result.stdout.split())


def test_a_folder_of_something_else_is_not_replaced(asked, monkeypatch, tmp_path):
    monkeypatch.setattr("medseg.dataset.importers.open_dataset", lambda path, progress: path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letters.txt").write_text("mine")
    result = run("quantize", "hippocampus-mr", "--data", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "which holds something else" in result.stderr
