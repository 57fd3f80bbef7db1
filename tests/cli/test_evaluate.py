import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.evaluate import evaluate
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def study(tmp_path):
    for name, shift in (("a", 0), ("b", 1), ("c", 0)):
        array = np.zeros((12, 12, 6), np.uint8)
        array[3:7, 3:8, 2:5] = 1
        geometry = Geometry.from_spacing((1.0, 1.0, 1.0), array.shape)
        for folder, values in (("masks", np.roll(array, shift, 0)), ("references", array)):
            if (folder, name) != ("masks", "c"):
                mask = LabelMap(values, geometry, (Label(value=1, name="organ"),))
                write_label_map(mask, tmp_path / folder / f"{name}.nii.gz")
    (tmp_path / "names.json").write_text('{"organ": 1}')
    return tmp_path


def run(study, *options):
    paths = [str(study / "masks"), str(study / "references"), "--out", str(study / "out")]
    return CliRunner().invoke(app, [*paths, *options])


def test_evaluate_leaves_tables_and_a_page_and_says_what_is_missing(study):
    outcome = run(study, "--labels", str(study / "names.json"), "--allow-missing")
    assert outcome.exit_code == 0, outcome.output
    assert {path.name for path in (study / "out").iterdir()} == {
        "scores.csv",
        "scores.json",
        "report.html",
    }
    assert "organ" in outcome.output
    assert "No prediction for 1 case (c)" in outcome.output


def test_json_is_all_there_is_on_stdout(study):
    outcome = run(study, "--only-predicted", "--json")
    content = json.loads(outcome.stdout)
    assert content["summary"]["label_1"]["dice"]["n"] == 2
    assert content["not_scored"] == ["c"]


def test_a_wrong_file_is_one_sentence_and_exit_code_1(study):
    (study / "masks" / "b.nii.gz").write_bytes(b"")
    outcome = run(study, "--allow-missing")
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.output
    assert not (study / "out").exists()


def test_a_missing_prediction_is_refused(study):
    outcome = run(study)
    assert outcome.exit_code == 1
    assert "error [evaluation-missing]" in outcome.output
    assert "none for 1 of 3 cases (c)" in outcome.output
    assert not (study / "out").exists()


def test_the_table_fits_a_narrow_terminal_and_names_the_definitions(study, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = run(
        study, "--allow-missing", "--surface", "borders", "--region", "everything found=1,2",
        "--tubes", "label_1", "--lesions", "label_1", "--tolerance", "2",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    table = outcome.stdout.partition("Lesions of")[0]
    assert max(len(line) for line in table.splitlines()) <= 80
    for word in ("everything", "found", "clDice", "HD95 pen.", "b. IoU", "sens.", "prec."):
        assert word in table
    assert "Lesions of label_1: 2 of 3 found, 0 invented" in outcome.output
    assert "Surface: borders. HD95: larger of both directions. ASSD: pooled." in outcome.output
    assert "NSD: within 2 mm;" in outcome.output


def test_what_was_kept_for_a_resume_is_removed(study):
    (study / "out" / "unfinished").mkdir(parents=True)
    (study / "out" / "unfinished" / "000001.json").write_text("{}")
    assert run(study, "--allow-missing").exit_code == 0
    assert not (study / "out" / "unfinished").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--surface", "voxels"), "evaluation", "elements or borders"),
        (("--region", "whole"), "label", "A region is a name"),
        (("--region", "whole=organ"), "label", "'organ'"),
        (("--tubes", "vessel"), "label", "'vessel'; there are label_1"),
        (("--tolerances", "names.json"), "label", "'organ'"),
        (("--probabilities", "nowhere"), "file-missing", "nothing at nowhere"),
    ],
)
def test_an_option_that_does_not_fit_is_one_sentence(study, words, code, text, monkeypatch):
    monkeypatch.chdir(study)
    outcome = run(study, "--allow-missing", *words)
    assert outcome.exit_code == 1
    assert f"error [{code}]" in outcome.output
    assert text in outcome.output
