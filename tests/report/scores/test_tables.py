import csv
import json

from medseg.report.scores.score import evaluate
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region
from medseg.report.scores.summary import METRICS
from medseg.report.scores.tables import as_json, save_scores, score_rows


def test_scores_have_the_promised_form(boxes, study):
    save_scores(
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True),
        study / "out",
    )
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
    save_scores(
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True),
        study / "out",
    )
    with (study / "out" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = json.loads((study / "out" / "scores.json").read_text())["cases"]
    assert len(rows) == len(expected) == 8
    for row, other in zip(rows, expected, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in other.items()}


def test_the_definitions_are_named(boxes, study):
    settings = ScoreSettings(surface="borders", tolerances_mm={"rim": 2.0}, tubes=("core",))
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
        regions=[Region("both", (1, 2))], settings=settings,
    )  # fmt: skip
    content = as_json(evaluation)
    assert content["settings"] == {
        "surface": "borders",
        "hd95": "maximum of the two directed percentiles",
        "assd": "pooled",
        "tolerances_mm": {"core": 1.0, "rim": 2.0, "both": 1.0},
        "regions": {"both": [1, 2]},
        "tubes": ["core"],
        "lesions": [],
        "lesion_matching": "overlap",
        "object_matching": "half",
    }
    assert set(METRICS) <= set(content["definitions"])
    assert "voxels" in content["definitions"]["surface"]
    by_name = {(row["case"], row["label"]): row for row in content["cases"]}
    assert by_name["a_right", "rim"]["cldice"] is None
    assert by_name["a_right", "core"]["cldice"] == 1.0
    assert content["summary"]["core"]["cldice"]["n"] == 4
    assert content["summary"]["rim"]["cldice"] == {
        "mean": None, "ci_low": None, "ci_high": None, "n": 0,
    }  # fmt: skip


def test_further_columns_are_there_only_where_they_were_asked_for(boxes, study):
    def rows(**settings):
        evaluation = evaluate(
            study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
            settings=ScoreSettings(**settings),
        )  # fmt: skip
        return score_rows(evaluation)

    plain, more = rows(), rows(lesions=("rim",))
    assert not {"lesion_f1", "pq", "ece"} & set(plain[0])
    by_name = {(row["case"], row["label"]): row for row in more}
    assert by_name["a_right", "rim"]["lesion_f1"] == 1.0
    assert by_name["a_right", "core"]["lesion_f1"] is None
