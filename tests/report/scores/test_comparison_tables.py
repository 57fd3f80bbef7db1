import csv
import json

from medseg.report.scores.compare import compare
from medseg.report.scores.comparison_tables import save_comparison
from medseg.report.scores.score import evaluate


def test_a_comparison_is_written_as_rows_and_as_json(boxes, study):
    masks = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    right = evaluate(study / "labelsTr", study / "labelsTr", labels=boxes.labels)
    save_comparison(compare({"masks": masks, "right": right}, metric="hd95"), study / "out")
    text = (study / "out" / "comparison.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    content = json.loads(text)
    assert content["models"] == ["masks", "right"]
    assert (content["metric"], content["higher_is_better"]) == ("hd95", False)
    assert content["means"]["right"]["core"]["mean"] == 0.0
    assert content["means"]["masks"]["rim"]["missed_or_invented"] == 2
    assert content["ranking"]["mean"]["models"][0]["model"] == "right"
    assert [row["label"] for row in content["differences"]] == ["core", "rim", "mean"]
    assert set(content["definitions"]) >= {"p_holm", "winner", "penalty"}
    with (study / "out" / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["core", "rim", "mean"]
    assert float(rows[0]["difference"]) == content["differences"][0]["difference"]
