import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from medseg.report.plots.figures import as_svg, name_points


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
