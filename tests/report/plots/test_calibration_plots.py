import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from medseg.metrics.calibration import calibration
from medseg.report.pages.evaluation_page import write_report
from medseg.report.plots.calibration_plots import reliability_diagram, reliability_of_all
from medseg.report.scores.score import evaluate


@pytest.fixture
def evaluation(boxes, study):
    """Probabilities that are right for the core, and far too sure of the rim."""
    generator = np.random.default_rng(0)
    said = generator.uniform(0, 1, (20, 20, 20))
    right = calibration(said, generator.uniform(0, 1, said.shape) < said)
    sure = calibration(np.round(said), generator.uniform(0, 1, said.shape) < 0.5)
    found = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    cases = [replace(case, calibration={1: right, 2: sure}) for case in found.cases]
    return replace(found, cases=tuple(cases))


def test_the_worst_calibrated_comes_first(evaluation):
    found = reliability_of_all(evaluation)
    assert list(found) == ["rim", "core"]
    assert found["rim"].ece == pytest.approx(0.5, abs=0.03)
    assert found["core"].ece < 0.05


def test_the_diagram_says_both_errors_and_stands_on_the_page(evaluation, tmp_path):
    svg = reliability_diagram(evaluation)
    ET.fromstring(svg)
    assert ">rim: ECE 0." in svg
    assert "There in truth" in svg
    page = write_report(evaluation, tmp_path / "page.html").read_text()
    assert "<h2>Calibration</h2>" in page


def test_without_probabilities_there_is_none(boxes, study):
    found = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    assert reliability_diagram(found) == ""
