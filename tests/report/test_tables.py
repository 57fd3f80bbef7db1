import csv
import json

from medseg.report.score import evaluate
from medseg.report.tables import save_scores


def test_scores_have_the_promised_form(boxes, study):
    save_scores(evaluate(study / "masks", study / "labelsTr", labels=boxes.labels), study / "out")
    text = (study / "out" / "scores.json").read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    scores = json.loads(text)
    assert set(scores["summary"]) == {"core", "rim", "mean"}
    assert set(scores["summary"]["core"]["dice"]) == {"mean", "ci_low", "ci_high", "n"}
    assert set(scores["summary"]["rim"]["hd95"]) == {"mean", "ci_low", "ci_high", "n", "penalised"}
    assert scores["summary"]["rim"]["counts"]["missed"] == 2
    assert scores["missing_predictions"] == ["d_forgotten"]
    first = scores["cases"][0]
    assert (first["case"], first["label"], first["dice"]) == ("a_right", "core", 1.0)
    lost = next(x for x in scores["cases"] if (x["case"], x["label"]) == ("c_no_rim", "rim"))
    assert (lost["hd95"], lost["status"]) == (None, "missed")


def test_the_csv_holds_the_same_rows(boxes, study):
    save_scores(evaluate(study / "masks", study / "labelsTr", labels=boxes.labels), study / "out")
    with (study / "out" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = json.loads((study / "out" / "scores.json").read_text())["cases"]
    assert len(rows) == len(expected) == 8
    for row, other in zip(rows, expected, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in other.items()}
