import numpy as np
import pytest

from medseg.errors import EvaluationError
from medseg.report.scores.compare import compare, compare_tables
from medseg.report.scores.score import evaluate
from medseg.report.scores.score_table import ScoreTable
from medseg.report.scores.summary import METRICS

CASES = tuple(f"c{n:02d}" for n in range(30))


def table(dice, *, cases=CASES, labels=("liver", "spleen"), hd95=None, status=None, surface="e"):
    shape = (len(cases), len(labels))
    numbers = {name: np.full(shape, np.nan) for name in METRICS}
    numbers["dice"] = np.broadcast_to(dice, shape).astype(float)
    if hd95 is not None:
        numbers["hd95"] = np.broadcast_to(hd95, shape).astype(float)
    found = np.full(shape, "ok") if status is None else status
    return ScoreTable(
        cases, labels, found, np.full(len(cases), 50.0), numbers, {"surface": surface}
    )


def noisy(mean, seed, spread=0.02):
    return np.random.default_rng(seed).normal(mean, spread, (30, 2))


def by_label(comparison):
    return {one.label: one for one in comparison.differences}


def test_the_better_one_wins_where_it_is_better():
    base = noisy(0.8, 0)
    better = base + np.array([0.05, 0.0]) + noisy(0.0, 1, 0.01)
    found = compare_tables({"old": table(base), "new": table(better)})
    differences = by_label(found)
    assert differences["liver"].winner == "new"
    assert differences["liver"].difference == pytest.approx((base - better)[:, 0].mean())
    assert differences["liver"].ci_high < 0
    assert differences["spleen"].winner is None
    assert "cannot be told apart on spleen" in differences["spleen"].sentence
    assert found.headline.startswith("new is better than old by Dice on 30 cases.")
    assert "new wins on liver; nobody on spleen" in found.headline


def test_swapping_the_models_swaps_the_sign_and_nothing_else():
    one, other = table(noisy(0.8, 0)), table(noisy(0.83, 1))
    there = by_label(compare_tables({"a": one, "b": other}))["liver"]
    back = by_label(compare_tables({"b": other, "a": one}))["liver"]
    assert there.difference == pytest.approx(-back.difference)
    assert (there.ci_low, there.ci_high) == pytest.approx((-back.ci_high, -back.ci_low))
    assert (there.p, there.winner) == (back.p, back.winner)


def test_a_model_does_not_win_over_itself():
    found = compare_tables({"a": table(noisy(0.8, 0)), "b": table(noisy(0.8, 0))})
    assert {one.winner for one in found.differences} == {None}
    assert {one.p for one in found.differences} == {1.0}
    assert "The data cannot tell a and b apart by Dice" in found.headline
    assert found.ranking.ranks == (1.5, 1.5)


def test_noise_seldom_wins():
    wins = 0
    for seed in range(60):
        found = compare_tables({"a": table(noisy(0.8, seed)), "b": table(noisy(0.8, seed + 999))})
        wins += found.overall[0].winner is not None
    assert wins <= 8


def test_a_few_cases_are_too_few():
    cases = CASES[:5]
    found = compare_tables(
        {"a": table(0.9, cases=cases), "b": table(np.linspace(0.1, 0.2, 5)[:, None], cases=cases)}
    )
    assert by_label(found)["liver"].winner is None
    assert "5 cases are too few for any test" in by_label(found)["liver"].sentence


def test_a_missed_structure_counts_with_the_diagonal():
    hd95 = np.full((30, 2), 2.0)
    lost, status = hd95.copy(), np.full((30, 2), "ok", dtype="<U14")
    lost[:10, 0], status[:10, 0] = np.inf, "missed"
    found = compare_tables(
        {"finds": table(0.8, hd95=hd95 + 0.1), "misses": table(0.8, hd95=lost, status=status)},
        metric="hd95",
    )
    assert found.higher_is_better is False
    assert found.numbers["misses"][0, 0] == 50.0
    assert found.lost["misses"] == {"liver": 10, "spleen": 0, "mean": 10}
    assert by_label(found)["liver"].second_mean == pytest.approx((10 * 50 + 20 * 2) / 30)
    assert by_label(found)["spleen"].winner == "misses"
    assert "mm" in by_label(found)["spleen"].sentence


def test_three_models_are_compared_in_pairs_and_ranked():
    tables = {n: table(noisy(mean, 5)) for n, mean in (("a", 0.7), ("b", 0.9), ("c", 0.8))}
    found = compare_tables(tables)
    assert len(found.differences) == 3 * 3
    assert found.ranking.order == ("b", "c", "a")
    assert found.headline == "b is better than a and c by Dice on 30 cases."
    assert found.rankings["liver"].order == ("b", "c", "a")


def test_without_one_that_beats_all_the_pairs_are_told():
    tables = {"a": table(noisy(0.7, 5)), "b": table(noisy(0.9, 5)), "c": table(noisy(0.9, 5))}
    text = compare_tables(tables).headline
    assert text.startswith("b is better than a; c is better than a by Dice on 30 cases.")
    assert "The data cannot tell b and c apart." in text


@pytest.mark.parametrize(
    ("tables", "options", "match"),
    [
        ({"a": table(0.8)}, {}, "two or more models.*1"),
        ({"a": table(0.8), "b": table(0.8, labels=("liver", "x"))}, {}, "same structures.*x of b"),
        ({"a": table(0.8), "b": table(0.8, cases=CASES[:-1])}, {}, r"b lacks 1 \(c29\).*only-com"),
        ({"a": table(0.8), "b": table(0.8, cases=("z",))}, {"only_common": True}, "same cases"),
        ({"a": table(0.8), "b": table(0.8, surface="b")}, {}, "surface e in a, b in b"),
        ({"a": table(0.8), "b": table(0.8)}, {"metric": "volume"}, "overlap or a distance.*volume"),
        ({"a": table(0.8), "b": table(0.8)}, {"metric": "cldice"}, "cldice, of no structure"),
    ],
)
def test_what_cannot_be_compared_is_refused(tables, options, match):
    with pytest.raises(EvaluationError, match=match):
        compare_tables(tables, **options)


def test_common_cases_and_another_order_of_labels():
    dice = noisy(0.8, 0)
    turned = table(dice[:-1, ::-1] + 0.1, cases=CASES[:-1], labels=("spleen", "liver"))
    found = compare_tables({"a": table(dice), "b": turned}, only_common=True)
    assert len(found.cases) == 29
    assert by_label(found)["liver"].difference == pytest.approx(-0.1)


def test_evaluations_are_compared_case_by_case(boxes, study):
    one = evaluate(study / "masks", study / "labelsTr", labels=boxes.labels, allow_missing=True)
    right = evaluate(study / "labelsTr", study / "labelsTr", labels=boxes.labels)
    found = compare({"masks": one, "right": right})
    assert found.cases == ("a_right", "b_shifted", "c_no_rim", "d_forgotten")
    assert found.means["right"]["mean"].mean == 1.0
    assert found.lost["masks"]["rim"] == 2
    assert "4 cases are too few" in found.overall[0].sentence
