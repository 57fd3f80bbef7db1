"""Judged masks that are kept: none is judged twice, none of other weights is used."""

from medseg.continual.judged_masks import JudgedMasks
from medseg.inference.quality_model import JudgedMask, QualityEvidence

EVIDENCE = QualityEvidence({"entropy": 0.1}, {"core": 2.0}, {"q50": -1.0})


class Judge:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        yield JudgedMask("a", False, EVIDENCE, 0.9)
        yield JudgedMask("a", True, EVIDENCE, 0.25)


def test_what_is_kept_is_what_was_judged(tmp_path):
    path, judge = tmp_path / "masks.jsonl", Judge()
    first = JudgedMasks(path, "w").of("a 0", judge)
    again = JudgedMasks(path, "w").of("a 0", judge)
    assert first == again == list(judge())
    assert judge.calls == 2  # once for the file, once for the line above


def test_another_key_or_stamp_is_judged_anew(tmp_path):
    path, judge = tmp_path / "masks.jsonl", Judge()
    JudgedMasks(path, "w").of("a 0", judge)
    JudgedMasks(path, "w").of("a 1", judge)
    JudgedMasks(path, "v").of("a 0", judge)
    assert judge.calls == 3


def test_spoilt_lines_are_judged_anew(tmp_path):
    path, judge = tmp_path / "masks.jsonl", Judge()
    JudgedMasks(path, "w").of("a 0", judge)
    whole = path.read_text()
    for spoilt in (
        whole[:-20],
        "7\n",
        whole.replace("0.25", '"0.25"'),
        whole.replace("true", "1"),
        whole.replace('"core": 2.0', '"core": null'),
        whole.replace('{"q50": -1.0}', "3"),
    ):
        path.write_text(spoilt)
        before = judge.calls
        JudgedMasks(path, "w").of("a 0", judge)
        assert judge.calls == before + 1


def test_without_a_file_nothing_is_kept(tmp_path):
    judge, masks = Judge(), JudgedMasks()
    masks.of("a", judge)
    masks.forget()
    path = tmp_path / "masks.jsonl"
    kept = JudgedMasks(path)
    kept.of("a", judge)
    assert path.is_file()
    kept.forget()
    kept.forget()
    assert not path.exists()
