import json
import math

import numpy as np
import pytest

from medseg.errors import MissingPath, UnreadableFile
from medseg.report.scores.score import evaluate
from medseg.report.scores.score_table import read_scores, table_of
from medseg.report.scores.summary import METRICS
from medseg.report.scores.tables import save_scores
from medseg.volume.io import write_label_map


@pytest.fixture
def evaluation(boxes, study):
    return evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)


def test_a_table_is_the_same_from_memory_and_from_the_file(evaluation, study):
    save_scores(evaluation, study / "out")
    there, here = read_scores(study / "out"), table_of(evaluation)
    assert (there.cases, there.labels, there.settings) == (here.cases, here.labels, here.settings)
    assert np.array_equal(there.status, here.status)
    assert np.array_equal(there.diagonals_mm, here.diagonals_mm)
    for metric in METRICS:
        assert np.array_equal(there.numbers[metric], here.numbers[metric], equal_nan=True)


def test_what_json_cannot_hold_comes_back(evaluation):
    table = table_of(evaluation)
    at = table.cases.index("c_no_rim"), table.labels.index("rim")
    assert table.status[at] == "missed"
    assert table.numbers["hd95"][at] == math.inf
    assert table.numbers["dice"][at] == 0.0


def test_no_status_is_cut_short(boxes, study):
    write_label_map(boxes.make_map(), study / "masks" / "d_forgotten.nii.gz")
    table = table_of(evaluate(study / "masks", study / "labelsTr", labels=boxes.labels))
    at = table.cases.index("d_forgotten"), table.labels.index("rim")
    assert table.status[at] == "false_positive"
    assert table.numbers["hd95"][at] == math.inf


def test_a_part_has_the_order_that_is_asked_for(evaluation):
    table = table_of(evaluation)
    part = table.part(("c_no_rim", "a_right"), ("rim",))
    assert part.numbers["dice"].tolist() == [[0.0], [1.0]]


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(MissingPath, match=r"nothing at .*scores\.json.*--references"):
        read_scores(tmp_path)
    for text in ("{", "[]", '{"cases": []}', '{"cases": [{"case": "a"}]}'):
        (tmp_path / "scores.json").write_text(text)
        with pytest.raises(UnreadableFile, match=r"must be the scores\.json of an evaluation"):
            read_scores(tmp_path)


def test_a_row_too_few_or_too_many_is_refused(evaluation, study):
    save_scores(evaluation, study / "out")
    content = json.loads((study / "out" / "scores.json").read_text())
    for rows in (content["cases"][:-1], content["cases"] + content["cases"][:1]):
        (study / "out" / "scores.json").write_text(json.dumps(content | {"cases": rows}))
        with pytest.raises(UnreadableFile, match="row"):
            read_scores(study / "out")
