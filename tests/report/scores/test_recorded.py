import dataclasses
import json
import re

import pytest

from medseg.errors import MissingPath, UnreadableFile
from medseg.report.pages.comparison_page import write_comparison_report
from medseg.report.pages.evaluation_page import write_report
from medseg.report.scores.compare import compare
from medseg.report.scores.comparison_tables import save_comparison
from medseg.report.scores.recorded import read_comparison, read_evaluation
from medseg.report.scores.score import evaluate
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region
from medseg.report.scores.tables import as_json, save_scores


def without_time(page):
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d</footer>", "</footer>", page.read_text())


@pytest.fixture
def evaluation(boxes, study):
    return evaluate(
        study / "masks",
        study / "labelsTr",
        labels=boxes.labels,
        regions=[Region("whole", (1, 2))],
        settings=ScoreSettings(lesions=("core",), tubes=("rim",), tolerances_mm={"rim": 2.0}),
        allow_missing=True,
    )


def test_an_evaluation_that_was_written_is_read_back_whole(evaluation, tmp_path):
    save_scores(evaluation, tmp_path / "out")
    again = read_evaluation(tmp_path / "out")
    assert as_json(again) == as_json(evaluation)
    assert again.settings == evaluation.settings
    assert again.structures == evaluation.structures
    for old, new in zip(evaluation.cases, again.cases, strict=True):
        assert new.scores == old.scores
        assert new.lesions == old.lesions


def test_its_page_is_the_same(evaluation, tmp_path):
    save_scores(evaluation, tmp_path / "out")
    first = write_report(evaluation, tmp_path / "first.html")
    second = write_report(read_evaluation(tmp_path / "out"), tmp_path / "second.html")
    assert without_time(first) == without_time(second)


def test_a_comparison_that_was_written_is_read_back_and_its_page_is_the_same(
    boxes, study, tmp_path
):
    one = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    for name in ("a_right", "b_shifted", "c_no_rim", "d_forgotten"):
        boxes.write_case(tmp_path / "other", name, boxes.make_map(2), boxes.make_map())
    other = evaluate(tmp_path / "other" / "masks", study / "labelsTr", labels=boxes.labels)
    comparison = compare({"ours": one, "other": other}, metric="hd95")
    save_comparison(comparison, tmp_path / "out")
    again = read_comparison(tmp_path / "out")
    for field in dataclasses.fields(comparison):
        if field.name not in ("numbers", "means", "settings"):
            assert getattr(again, field.name) == getattr(comparison, field.name), field.name
    first = write_comparison_report(comparison, tmp_path / "first.html")
    second = write_comparison_report(again, tmp_path / "second.html")
    assert without_time(first) == without_time(second)


def test_what_cannot_be_read_back_is_refused(evaluation, tmp_path):
    with pytest.raises(MissingPath, match=r"The folder of an evaluation holds scores\.json"):
        read_evaluation(tmp_path)
    with pytest.raises(MissingPath, match=r"The folder of a comparison holds comparison\.json"):
        read_comparison(tmp_path)
    save_scores(evaluation, tmp_path / "out")
    file = tmp_path / "out" / "scores.json"
    content = json.loads(file.read_text())
    del content["inputs"]
    file.write_text(json.dumps(content))
    with pytest.raises(UnreadableFile, match="must be the record of an evaluation by this version"):
        read_evaluation(tmp_path / "out")
    (tmp_path / "comparison.json").write_text("[]")
    with pytest.raises(UnreadableFile, match="must be the record of a comparison"):
        read_comparison(tmp_path)
