import xml.etree.ElementTree as ET

from medseg.report.plots.score_plots import distributions
from medseg.report.scores.score import evaluate


def test_distributions_name_each_case_and_show_the_lost_ones(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True
    )
    svg = distributions(evaluation)
    ET.fromstring(svg)
    assert svg.count("c_no_rim: missed or invented") == 1
    assert svg.count("d_forgotten: missed or invented") == 2
    assert "b_shifted: 0.5<" in svg
    assert ">lost<" in svg


def test_points_lie_where_their_scores_are(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True
    )
    svg = ET.fromstring(distributions(evaluation))
    group = next(node for node in svg.iter() if node.get("id") == "points-0-1")
    places = [float(use.get("x")) for use in group.iter() if use.tag.endswith("use")]
    dice = [case.scores[2].dice for case in evaluation.cases]
    assert len(places) == len(dice)
    assert [p == max(places) for p in places] == [d == max(dice) for d in dice]
