import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.compare import compare
from medseg.cli.evaluate import evaluate
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

app = typer.Typer()
app.command("compare")(compare)
app.command("evaluate")(evaluate)


@pytest.fixture
def study(tmp_path):
    """Eight references, one model that is right and one that is a voxel off."""
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (12, 12, 6))
    for n in range(8):
        array = np.zeros(geometry.grid_size, np.uint8)
        array[2 : 6 + n % 3, 3:8, 2:5] = 1
        for folder, shift in (("references", 0), ("good", 0), ("bad", 1 + n % 2)):
            moved = LabelMap(np.roll(array, shift, 0), geometry, (Label(value=1, name="organ"),))
            write_label_map(moved, tmp_path / folder / f"c{n}.nii.gz")
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def both(study):
    return f"good={study / 'good'}", f"bad={study / 'bad'}"


def test_masks_are_evaluated_and_compared(study):
    answer = run(
        "compare", *both(study), "--references", study / "references", "--out", study / "out"
    )
    assert answer.exit_code == 0, answer.output
    assert "good is better than bad by Dice on 8 cases." in answer.output
    assert "Kendall's tau 1.00" in answer.output
    assert {path.name for path in (study / "out").iterdir()} == {
        "comparison.csv", "comparison.json", "report.html", "good", "bad",
    }  # fmt: skip
    assert {path.name for path in (study / "out" / "bad").iterdir()} == {
        "scores.csv",
        "scores.json",
    }
    content = json.loads((study / "out" / "comparison.json").read_text())
    assert content["differences"][0]["winner"] == "good"


def test_earlier_evaluations_are_not_scored_again(study):
    for name in ("good", "bad"):
        answer = run(
            "evaluate", study / name, study / "references", "--out", study / f"scores-{name}"
        )
        assert answer.exit_code == 0, answer.output
        for path in (study / name).iterdir():
            path.unlink()
    answer = run(
        "compare", study / "scores-bad", study / "scores-good", "--out", study / "out", "--json",
        "--metric", "hd95",
    )  # fmt: skip
    content = json.loads(answer.stdout)
    assert content["models"] == ["scores-bad", "scores-good"]
    assert content["conclusion"] == "scores-good is better than scores-bad by HD95 on 8 cases."


def test_a_value_that_one_model_invents_is_scored_for_both(study):
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (12, 12, 6))
    array = np.full(geometry.grid_size, 2, np.uint8)
    labels = (Label(value=1, name="organ"), Label(value=2, name="other"))
    write_label_map(LabelMap(array, geometry, labels), study / "bad" / "c0.nii.gz")
    words = (*both(study), "--references", study / "references", "--out", study / "out", "--json")
    content = json.loads(run("compare", *words).stdout)
    assert content["labels"] == ["label_1", "label_2"]
    assert content["means"]["bad"]["label_2"]["missed_or_invented"] == 1
    assert content["means"]["good"]["label_2"]["missed_or_invented"] == 0


def test_cases_that_one_lacks_are_refused_or_left_out_or_missed(study):
    (study / "bad" / "c3.nii.gz").unlink()
    words = (*both(study), "--references", study / "references", "--out", study / "out")
    refused = run("compare", *words)
    assert refused.exit_code == 1
    assert "error [evaluation-missing]" in refused.output
    assert not (study / "out").exists()
    left_out = run("compare", *words, "--only-common", "--json")
    assert len(json.loads(left_out.stdout)["cases"]) == 7
    counted = json.loads(run("compare", *words, "--allow-missing", "--json").stdout)
    assert counted["means"]["bad"]["label_1"]["missed_or_invented"] == 1


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("good=GOOD",), "evaluation", "two or more models"),
        (("a=GOOD", "a=BAD"), "evaluation", "different names"),
        (("a/b=GOOD", "c=BAD"), "evaluation", "without slashes"),
        (("mean=GOOD", "c=BAD"), "evaluation", 'other than "mean"'),
        (("GOOD", "BAD"), "file-missing", "scores.json"),
        (("GOOD", "BAD", "--references", "REF", "--metric", "volume"), "evaluation", "--metric"),
        (("GOOD", "BAD", "--references", "REF", "--surface", "x"), "evaluation", "elements or bor"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(study, words, code, text):
    places = {"GOOD": study / "good", "BAD": study / "bad", "REF": study / "references"}
    filled = []
    for word in words:
        name, equals, folder = word.partition("=")
        place = places.get(folder or name, folder or name)
        filled.append(f"{name}={place}" if equals else place)
    answer = run("compare", *filled, "--out", study / "out")
    assert answer.exit_code == 1, answer.output
    assert answer.output.count("error [") == 1
    assert f"error [{code}]" in answer.output
    assert text in answer.output
    assert "Traceback" not in answer.output
