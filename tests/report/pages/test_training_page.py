import json

import pytest

from medseg.errors import MissingPath
from medseg.report.pages.training_page import write_training_report

LOG = """fold,step,seconds,share,learning_rate,loss,batch_dice,validation_dice
0,1,10.0,0.0,0.002,1.9,0.1,
0,50,60.0,0.5,0.001,0.9,0.6,0.55
0,100,110.0,1.0,0.0,0.5,0.8,0.75
"""
METRICS = {
    "dice": {"core": 0.8, "rim": 0.6, "mean": 0.7},
    "measured_on": "cases that were held out",
    "cases": [
        {"case": "first", "fold": 0, "dice": {"core": 0.9, "rim": 0.8}},
        {"case": "second", "fold": 0, "dice": {"core": 0.7, "rim": 0.4}},
        {"case": "third", "fold": 0, "dice": {"core": 0.8, "rim": None}},
    ],
    "steps": 1234,
    "seconds": 123.0,
    "device": "cpu",
}
PLAN = {
    "dataset": "Phantom",
    "config": "3d_full",
    "labels": [{"value": 1, "name": "core"}, {"value": 2, "name": "rim"}],
    "network": {"kind": "plain_unet"},
    "reasons": [{"what": "patch", "value": "32 x 32 x 16", "why": "Memory allows <no> more."}],
}
PROVENANCE = {
    "provenance": {"command": "medseg train data --out run", "training_cases": ["a", "b"]}
}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(PROVENANCE))
    return tmp_path


def test_the_page_says_how_well_how_long_and_why(run):
    page = write_training_report(run).read_text()
    assert write_training_report(run) == run / "report.html"
    assert "Mean Dice 0.700 on 3 cases" in page
    assert "1,234 steps, 2 min 3 s on cpu" in page
    assert "Memory allows &lt;no&gt; more." in page
    assert "medseg train data --out run" in page
    assert "held-out cases" in page
    assert page.index("second</th>") < page.index("third</th>") < page.index("first</th>")
    assert "<script" not in page


@pytest.mark.parametrize("missing", ["log.csv", "metrics.json", "plan.json", "bundle/bundle.json"])
def test_any_part_may_be_missing(run, missing):
    (run / missing).unlink()
    page = write_training_report(run).read_text()
    assert page.endswith("</html>\n") or page.endswith("</html>")
    assert ("has not ended" in page) == (missing == "metrics.json")
    assert ("How it learned" in page) == (missing != "log.csv")
    assert ("The plan, and why" in page) == (missing != "plan.json")


def test_broken_parts_count_as_missing(run):
    (run / "metrics.json").write_text("{")
    (run / "log.csv").write_bytes(b"\xff\xfe\x00")
    assert "has not ended" in write_training_report(run).read_text()


def test_several_folds_are_drawn_over_steps(run):
    more = LOG.splitlines()[1:]
    (run / "log.csv").write_text(LOG + "\n".join("1" + line[1:] for line in more) + "\n")
    page = write_training_report(run).read_text()
    assert "fold 1" in page
    assert ">Steps<" in page


def test_dice_of_training_cases_is_called_so(run):
    told = {**METRICS, "measured_on": "training cases, for want of others"}
    (run / "metrics.json").write_text(json.dumps(told))
    page = write_training_report(run).read_text()
    assert "measured on training cases, for want of others: it says nothing about new cases" in page
    assert "<h2>Dice on training cases, for want of others</h2>" in page


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(MissingPath, match=r"metrics\.json, plan\.json or log\.csv"):
        write_training_report(tmp_path)


def test_what_held_out_cases_decided_is_shown(run):
    metrics = METRICS | {
        "choice": {
            "why": "2d+3d_full has a Dice +0.0100 above 2d alone.",
            "candidates": [
                {"name": "2d+3d_full", "dice": 0.71, "ci_low": 0.7, "ci_high": 0.72,
                 "chosen": True, "gain": 0.01, "gain_ci_low": 0.005, "gain_ci_high": 0.015},
                {"name": "2d", "dice": 0.7, "ci_low": 0.69, "ci_high": 0.71, "gain": None},
            ],
        },
        "postprocessing": [
            {"sentence": "Holes in core are filled.", "gain": 0.002, "ci_low": 0.001,
             "ci_high": 0.003, "n": 3, "changed": 2, "kept": True, "why": "It helped."},
            {"sentence": "Holes in rim are filled.", "gain": 0.0, "ci_low": 0.0, "ci_high": 0.0,
             "n": 3, "changed": 0, "kept": False, "why": "It did not help."},
        ],
        "calibration": {
            "2d": {"temperature": 1.31, "ece_before": 0.08, "ece_after": 0.02, "voxels": 12000}
        },
    }  # fmt: skip
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = write_training_report(run).read_text()
    for words in (
        "2d+3d_full (the bundle)", "above 2d alone", "+0.0050 to +0.0150",
        "Holes in core are filled.", "2 of 3", "+0.0010 to +0.0030", "1.31", "12,000",
    ):  # fmt: skip
        assert words in page
    assert "Holes in rim" not in page


@pytest.mark.parametrize("broken", [3, [1], {"candidates": 2}, None])
def test_broken_decisions_count_as_missing(run, broken):
    parts = {"choice": broken, "postprocessing": broken, "calibration": broken}
    (run / "metrics.json").write_text(json.dumps(METRICS | parts))
    assert "Mean Dice 0.700" in write_training_report(run).read_text()


def test_what_went_otherwise_than_planned_is_told(run):
    incident = {"sentence": "The memory was full at step 7."}
    folds = [{"fold": 2, "incidents": [incident], "stopped_early": True}]
    (run / "metrics.json").write_text(json.dumps(METRICS | {"folds": folds}))
    page = write_training_report(run).read_text()
    assert "Fold 2: The memory was full at step 7." in page
    assert "Fold 2 ended before its time" in page


def test_a_run_that_goes_on_tells_what_it_expects(run):
    (run / "metrics.json").unlink()
    (run / "log.csv").write_text(
        "fold,step,share,loss,forecast_dice,forecast_error\n"
        "0,10,0.2,1.0,,\n0,20,0.4,0.9,0.85,0.03\n0,30,0.6,0.8,0.87,0.02\n0,40,0.7,0.7,,\n"
    )
    page = write_training_report(run).read_text()
    assert "At 60% of fold 0 a Dice of 0.870 ± 0.020 was expected at its end." in page
    assert "0.850 ± 0.030" in page
