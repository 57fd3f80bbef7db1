import pytest

from medseg.report.pages.examples import choose_cases, look_again
from medseg.report.scores.score import evaluate


@pytest.fixture
def many(boxes, tmp_path):
    """Nine cases, each shifted by less than the one before; the last two are right."""
    for n, shift in enumerate((5, 4, 3, 3, 2, 2, 1, 0, 0)):
        boxes.write_case(tmp_path, f"case_{n}", boxes.make_map(shift), boxes.make_map())
    return evaluate(tmp_path / "masks", tmp_path / "labelsTr", labels=boxes.labels)


def test_lowest_median_and_best_are_picked_by_score(many):
    chosen = {role: case.pair.case for role, case in choose_cases(many)}
    assert chosen == {
        "lowest": "case_0", "2nd lowest": "case_1", "3rd lowest": "case_2",
        "median": "case_4", "best": "case_8",
    }  # fmt: skip


@pytest.mark.parametrize(("cases", "roles"), [(1, 1), (3, 3), (4, 4), (5, 5)])
def test_no_case_is_picked_twice(boxes, tmp_path, cases, roles):
    for n in range(cases):
        boxes.write_case(tmp_path, f"case_{n}", boxes.make_map(n), boxes.make_map())
    chosen = choose_cases(evaluate(tmp_path / "masks", tmp_path / "labelsTr"))
    assert len({case.pair.case for _, case in chosen}) == len(chosen) == roles


def test_looking_again_draws_the_examples_and_counts_all_cases(many):
    looked = look_again(many)
    assert [one.role for one in looked.examples][:1] == ["lowest"]
    assert all(one.drawing is not None for one in looked.examples)
    assert looked.read == 9
    core, rim = looked.confusion.counts[1:].sum(axis=1)
    assert (core, rim) == (9 * 5 * 7 * 4, 9 * 2 * 7 * 4)
    assert looked.confusion.counts[1, 2] > 0 or looked.confusion.counts[2, 1] > 0


def test_one_structure_has_no_confusion(boxes, tmp_path):
    boxes.write_case(tmp_path, "a", boxes.make_map(rim=False), boxes.make_map(rim=False))
    looked = look_again(evaluate(tmp_path / "masks", tmp_path / "labelsTr"))
    assert looked.confusion is None


def test_a_case_that_cannot_be_read_again_says_so(many, tmp_path):
    (tmp_path / "masks" / "case_0.nii.gz").write_bytes(b"broken")
    looked = look_again(many)
    assert looked.examples[0].drawing is None
    assert "No picture:" in looked.examples[0].remark
    assert looked.read == 8
