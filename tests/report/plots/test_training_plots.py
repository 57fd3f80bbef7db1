import xml.etree.ElementTree as ET

import numpy as np

from medseg.report.plots.training_plots import Curve, curves

STEPS = np.array([1.0, 50.0, 100.0])


def test_each_panel_has_its_title_and_named_lines_a_legend():
    line = Curve("fold 0", STEPS, np.array([1.9, np.nan, 0.5]), "#0072b2")
    svg = curves({"Loss": [line], "Seconds a step": [Curve("", STEPS, STEPS, "#0072b2")]}, "Steps")
    ET.fromstring(svg)
    assert ">Loss<" in svg
    assert ">Seconds a step<" in svg
    assert svg.count(">fold 0<") == 1
    assert svg.count(">Steps<") == 2


def test_four_panels_stand_two_by_two_with_the_axis_named_below():
    line = [Curve("", STEPS, STEPS / 100, "#0072b2")]
    svg = curves(
        dict.fromkeys(("Loss", "Dice", "Learning rate", "Seconds a step"), line), "Minutes"
    )
    assert svg.count(">Minutes<") == 2
