import xml.etree.ElementTree as ET

import pytest

from medseg.report.pages.comparison_page import write_comparison_report
from medseg.report.plots.comparison_plots import (
    MOST_STRUCTURES,
    model_distributions,
    paired_differences,
    rank_shares,
    shown_structures,
)
from medseg.report.scores.compare import compare
from medseg.report.scores.score import evaluate


@pytest.fixture
def evaluations(boxes, tmp_path):
    """Eight cases of two models: one right, one shifted."""
    root = tmp_path / "models"
    found = {}
    for name, shift in (("good & true", 0), ("poor", 2)):
        for n in range(8):
            moved = shift + (n % 2 if shift else 0)
            boxes.write_case(root / name, f"case_{n}", boxes.make_map(moved), boxes.make_map())
        found[name] = evaluate(root / name / "masks", root / name / "labelsTr", labels=boxes.labels)
    return found


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_the_page_says_who_wins_with_what_certainty(evaluations, tmp_path, metric):
    page = write_comparison_report(
        compare(evaluations, metric=metric), tmp_path / "page.html"
    ).read_text()
    assert "<h1>good &amp; true is better than poor" in page
    assert "good &amp; true is first in 100 % of the draws" in page
    assert "good & true<" not in page
    assert "<script" not in page
    assert page.count("<svg") == 3


def test_figures_name_models_and_structures(evaluations):
    comparison = compare(evaluations)
    for svg in (model_distributions, paired_differences, rank_shares):
        ET.fromstring(svg(comparison))
    assert "All structures" in paired_differences(comparison)
    assert "core" in model_distributions(comparison)
    assert "good &amp; true" in rank_shares(comparison)
    assert model_distributions(comparison) == model_distributions(comparison)


def test_few_structures_are_all_shown(evaluations):
    assert len(shown_structures(compare(evaluations))) == 2 <= MOST_STRUCTURES


def test_few_cases_are_said_to_be_too_few(boxes, tmp_path):
    found = {}
    for name, shift in (("one", 0), ("two", 1)):
        boxes.write_case(tmp_path / name, "a", boxes.make_map(shift), boxes.make_map())
        boxes.write_case(tmp_path / name, "b", boxes.make_map(shift), boxes.make_map())
        folder = tmp_path / name
        found[name] = evaluate(folder / "masks", folder / "labelsTr", labels=boxes.labels)
    page = write_comparison_report(compare(found), tmp_path / "page.html").read_text()
    assert "Only 2 cases: too few for any test to find a winner." in page
    assert "cannot be told" in page
