import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from medseg.report.figures import as_svg, name_points
from medseg.report.plots import dice_against_volume, distributions
from medseg.report.score import evaluate


def draw_points() -> Figure:
    figure = Figure()
    figure.subplots().scatter([0.2, 0.4, 0.9], [1, 2, 3], gid="dots")
    return figure


def test_a_figure_takes_the_ink_and_the_type_of_its_page():
    svg = as_svg(draw_points)
    ET.fromstring(svg)
    assert "currentColor" in svg
    assert "font-family" not in svg
    assert "#123456" not in svg
    assert svg == as_svg(draw_points)


def test_each_point_says_its_name():
    svg = name_points(as_svg(draw_points), "dots", ["a", "b <c>", "d"])
    titles = [node.text for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["a", "b <c>", "d"]


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


def test_dice_against_volume_leaves_out_what_the_reference_does_not_hold(boxes, study):
    svg = dice_against_volume(
        evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    )
    ET.fromstring(svg)
    assert svg.count("d_forgotten") == 1
    assert svg.count("<title>") == 7
