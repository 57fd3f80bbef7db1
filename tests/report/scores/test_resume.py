import json
import os

import pytest

from medseg.errors import CannotWrite
from medseg.report.scores import resume
from medseg.report.scores.pairs import Pair
from medseg.report.scores.resume import FOLDER, Ledger, forget, key_of
from medseg.report.scores.score import evaluate
from medseg.report.scores.score_one import score_pair
from medseg.report.scores.settings import ScoreSettings
from medseg.report.scores.structures import Region
from medseg.volume.io import write_label_map

SETTINGS = ScoreSettings(lesions=("core",))


@pytest.fixture
def pair(study):
    name = "b_shifted.nii.gz"
    return Pair("b_shifted", study / "labelsTr" / name, study / "masks" / name)


@pytest.fixture
def at_once(monkeypatch):
    """Every case is written as soon as it is scored."""
    monkeypatch.setattr(resume, "_SECONDS", 0.0)


def test_scores_come_back_as_they_were(boxes, study, pair, at_once):
    scores = score_pair(pair, boxes.labels, (), SETTINGS)
    missed = score_pair(Pair("d", pair.reference, None), boxes.labels, (), SETTINGS)
    ledger = Ledger(study / "out")
    ledger.add("one", scores)
    ledger.add("two", missed)
    again = Ledger(study / "out")
    assert (again.get("one"), again.get("two"), again.get("three")) == (scores, missed, None)
    forget(study / "out")
    assert Ledger(study / "out").get("one") is None


def test_quick_work_leaves_nothing(boxes, study, pair):
    ledger = Ledger(study / "out")
    ledger.add("one", score_pair(pair, boxes.labels, (), SETTINGS))
    ledger.stop()
    assert not (study / "out").exists()


def test_a_broken_or_foreign_file_counts_as_none(boxes, study, pair, at_once):
    ledger = Ledger(study / "out")
    ledger.add("one", score_pair(pair, boxes.labels, (), SETTINGS))
    folder = study / "out" / FOLDER
    (folder / "000002.json").write_text('{"two": {"scores": 1}, "thr')
    (folder / "000003.json").write_text('{"two": {"scores": 1}}')
    (folder / "notes.json").write_text("[]")
    again = Ledger(study / "out")
    assert again.get("one") is not None
    assert again.get("two") is None
    again.add("four", score_pair(pair, boxes.labels, (), SETTINGS))
    assert (folder / "000004.json").is_file()


def test_a_key_changes_with_files_settings_and_structures(boxes, pair):
    def key(one=pair, labels=boxes.labels, regions=(), settings=SETTINGS):
        return key_of(one, labels, regions, settings, None)

    assert key() == key()
    others = [
        key(settings=ScoreSettings(tolerance_mm=2.0)),
        key(labels=None),
        key(regions=(Region("both", (1, 2)),)),
        key(Pair(pair.case, pair.reference, None)),
        key(Pair(pair.case, pair.reference, pair.predicted, resample=True)),
    ]
    before = key()
    facts = pair.predicted.stat()
    os.utime(pair.predicted, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert len({before, key(), *others}) == 2 + len(others)


def test_an_evaluation_goes_on_where_it_was_interrupted(boxes, study, at_once, monkeypatch):
    scored = []

    def watched(pair, *rest):
        scored.append(pair.case)
        if pair.case == "c_no_rim" and len(scored) < 4:
            raise KeyboardInterrupt
        return score_pair(pair, *rest)

    monkeypatch.setattr("medseg.report.scores.score.score_pair", watched)

    def run():
        return evaluate(
            study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True,
            resume_in=study / "out", workers=1,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        run()
    assert {"a_right", "b_shifted"} <= set(scored)
    scored[:] = ["-"] * 4
    write_label_map(boxes.make_map(), study / "masks" / "a_right.nii.gz")
    (study / "masks" / "a_right.nii.gz").touch()
    resumed = run()
    assert "b_shifted" not in scored
    assert {"a_right", "c_no_rim"} <= set(scored)
    monkeypatch.undo()
    fresh = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    assert resumed.cases == fresh.cases
    assert resumed.by_label == fresh.by_label


def test_where_nothing_can_be_kept_the_work_stops_early(boxes, study, pair, at_once):
    (study / "out").write_text("a file")
    with pytest.raises(CannotWrite, match=FOLDER):
        Ledger(study / "out").add("one", score_pair(pair, boxes.labels, (), SETTINGS))


def test_what_is_kept_is_json_without_numbers_that_need_a_parser(boxes, study, pair, at_once):
    Ledger(study / "out").add("one", score_pair(pair, boxes.labels, (), SETTINGS))
    content = json.loads((study / "out" / FOLDER / "000001.json").read_text())
    assert content["one"]["scores"]["core"]["status"] == "ok"
