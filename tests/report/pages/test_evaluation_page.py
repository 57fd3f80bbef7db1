import re

import pytest

from medseg.report.pages.evaluation_page import write_report
from medseg.report.scores.score import evaluate


@pytest.fixture
def page(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True
    )
    return write_report(evaluation, study / "report.html").read_text()


def test_the_page_says_what_came_out_and_what_was_missing(page):
    assert "on 4 cases" in page
    assert "Missed: 3. Invented: 0." in page
    assert "No prediction for 1 case (d_forgotten)" in page
    assert "c_no_rim" in page


def test_the_page_needs_no_other_file_and_no_network(page):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert len(page) < 1_000_000


def test_worst_cases_come_first_with_image_and_outlines(page):
    articles = page.split("<article")[1:]
    found = re.findall(r'<h3><span class="role">([^<]*)</span>([^<]*)', "".join(articles))
    assert found == [("lowest", "c_no_rim"), ("2nd lowest", "b_shifted"), ("3rd lowest", "a_right")]
    assert articles[0].count("data:image/png") == 2
    assert "rim missed" in articles[0]


def test_names_are_escaped(boxes, tmp_path):
    boxes.write_case(tmp_path, "a<b>&c", boxes.make_map(1), boxes.make_map())
    page = write_report(
        evaluate(tmp_path / "masks", tmp_path / "labelsTr"), tmp_path / "report.html"
    ).read_text()
    assert "a&lt;b&gt;&amp;c" in page
    assert "a<b>" not in page


def test_without_images_the_masks_alone_are_shown(boxes, study):
    for image in (study / "imagesTr").iterdir():
        image.unlink()
    page = write_report(
        evaluate(study / "masks", study / "labelsTr", allow_missing=True), study / "report.html"
    ).read_text()
    assert "panels three" in page


def test_a_case_that_cannot_be_read_again_is_said_to_have_no_picture(boxes, study):
    evaluation = evaluate(
        study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True
    )
    (study / "masks" / "c_no_rim.nii.gz").write_bytes(b"broken")
    page = write_report(evaluation, study / "report.html").read_text()
    assert "No picture:" in page


def test_structures_without_any_finding_still_make_a_page(boxes, tmp_path):
    for name in ("a", "b"):
        boxes.write_case(tmp_path, name, boxes.make_map(rim=False), boxes.make_map())
    page = write_report(
        evaluate(tmp_path / "masks", tmp_path / "labelsTr", labels=boxes.labels),
        tmp_path / "report.html",
    ).read_text()
    assert "Missed: 2." in page
