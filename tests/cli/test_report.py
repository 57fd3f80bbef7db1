import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap


@pytest.fixture
def masks(tmp_path):
    """Masks of two cases with the record of their prediction, and their references."""
    array = np.zeros((12, 12, 6), np.uint8)
    array[3:7, 3:8, 2:5] = 1
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), array.shape)
    cases = []
    for n, name in enumerate("ab"):
        for folder, values in (("masks", np.roll(array, n, 0)), ("references", array)):
            mask = LabelMap(values, geometry, (Label(value=1, name="organ"),))
            write_label_map(mask, tmp_path / folder / f"{name}.nii.gz")
        volumes = {"organ": 0.06}
        cases.append({"case": name, "file": f"{name}.nii.gz", "volumes_ml": volumes})
    record = {"labels": {"organ": 1}, "cases": cases}
    (tmp_path / "masks" / "predictions.json").write_text(json.dumps(record))
    return tmp_path / "masks"


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words):
    outcome = run(*words)
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.output
    return outcome.output


def test_each_folder_gives_its_page(masks, tmp_path):
    for name in ("one", "two"):
        outcome = run("evaluate", masks, tmp_path / "references", "--out", tmp_path / name)
        assert outcome.exit_code == 0, outcome.output
    scored = [tmp_path / "one", tmp_path / "two"]
    assert run("compare", *scored, "--out", tmp_path / "versus").exit_code == 0
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text('{"dice": {"organ": 0.5}}')
    kinds = {
        "evaluation": [tmp_path / "one"],
        "comparison": [tmp_path / "versus"],
        "training": [tmp_path / "run"],
        "case": [masks, "--case", "b", "--scores", tmp_path / "one"],
    }
    for kind, words in kinds.items():
        page = tmp_path / f"{kind}.html"
        outcome = run("report", *words, "--out", page, "--json")
        assert outcome.exit_code == 0, outcome.output
        assert json.loads(outcome.stdout) == {"kind": kind, "report": str(page)}
        kind_said = re.search(r'<div class="kind">(\w+)', page.read_text())[1]
        assert kind_said.lower() == kind


def test_a_folder_as_out_takes_a_page_of_the_usual_name(masks, tmp_path):
    assert run("report", masks, "--case", "a", "--out", tmp_path).exit_code == 0
    assert (tmp_path / "report.html").is_file()


def test_what_cannot_have_a_page_is_one_sentence(masks, tmp_path):
    page = tmp_path / "page.html"
    told = refused("report", masks, "--out", page)
    assert "error [evaluation]: The page of a prediction is that of one case." in told
    assert "2 cases in" in told
    told = refused("report", tmp_path / "references", "--out", page)
    assert "error [file-missing]: A report is made of a folder with comparison.json" in told
    told = refused("report", tmp_path / "nowhere", "--out", page)
    assert "no such folder" in told
    told = refused("report", masks, "--case", "z", "--out", page)
    assert "Choose with --case one of a, b." in told
    assert not page.exists()


def test_options_of_a_case_are_refused_elsewhere(masks, tmp_path):
    run("evaluate", masks, tmp_path / "references", "--out", tmp_path / "one")
    told = refused("report", tmp_path / "one", "--case", "a", "--out", tmp_path / "page.html")
    assert "--case belongs to a page of a case." in told
    assert "the folder of an evaluation" in told
