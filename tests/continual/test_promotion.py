"""The rule, known answers by hand: what promotes, and each single thing that does not."""

import pytest
from pydantic import ValidationError

from medseg.continual.promotion import (
    Comparison,
    Displacement,
    PromotionRule,
    change_of,
    judge,
    offset_of,
)

RULE = PromotionRule()


def comparison(domain, before, after):
    return Comparison(
        domain=domain, cases=tuple(f"c{n}" for n in range(len(before))), labels=("core",),
        current=tuple((x,) for x in before), candidate=tuple((x,) for x in after),
    )  # fmt: skip


OLD = comparison("old", [0.9, 0.88, 0.91, 0.9], [0.9, 0.881, 0.909, 0.898])
NEW = comparison("new", [0.6, 0.65, 0.7, 0.62], [0.8, 0.82, 0.84, 0.81])


def test_a_firm_gain_at_no_loss_is_promoted():
    verdict = judge(RULE, (OLD, NEW), None)
    assert verdict.promote
    assert verdict.why == ("Every condition of the rule holds.",)
    assert [change.domain for change in verdict.changes] == ["old", "new"]
    assert verdict.changes[1].gain == pytest.approx(0.175)


def test_the_figures_are_those_of_the_cases():
    change = change_of(NEW)
    assert (change.cases, change.current) == (4, pytest.approx(0.6425))
    assert change.by_label == {"core": pytest.approx(0.175)}
    assert change.ci_low <= change.gain <= change.ci_high
    assert "+0.1750" in change.sentence


@pytest.mark.parametrize(
    ("comparisons", "reason"),
    [
        ((comparison("old", [0.9] * 4, [0.89] * 4), NEW), "old domain falls by 0.0100"),
        ((OLD, comparison("new", [0.8] * 4, [0.8] * 4)), "not more than"),
        ((OLD, comparison("new", [0.5, 0.6, 0.7, 0.8], [0.9, 0.5, 0.65, 0.7])), "may be chance"),
        ((OLD, comparison("new", [0.5, 0.6], [0.9, 0.9])), "at least 3 cases; there are 2"),
        ((OLD,), "there are 0"),
        ((NEW,), "no case of it"),
    ],
)
def test_each_broken_condition_keeps_the_bundle_in_use(comparisons, reason):
    verdict = judge(RULE, comparisons, None)
    assert not verdict.promote
    assert len(verdict.why) == 1
    assert reason in verdict.why[0]


def test_a_structure_that_is_lost_cannot_hide_in_the_mean():
    both = Comparison(
        domain="old", cases=("a", "b"), labels=("core", "shell"),
        current=((0.8, 0.8), (0.8, 0.8)), candidate=((0.9, 0.7), (0.9, 0.7)),
    )  # fmt: skip
    verdict = judge(RULE, (both, NEW), None)
    assert [why for why in verdict.why if "shell" in why] == list(verdict.why)


def shifted(mm, count=6, mended=0.8):
    return offset_of(
        [Displacement((mm + 0.1 * n, 0.0, -0.1 * n), 0.4, mended) for n in range(count)]
    )


def test_labels_that_all_lie_aside_look_shifted():
    verdict = judge(RULE, (OLD, NEW), shifted(4.0))
    assert not verdict.promote
    assert verdict.labels_look_shifted
    assert "4.3 mm" in verdict.why[0]


@pytest.mark.parametrize(
    "offset",
    [shifted(1.0), shifted(4.0, mended=0.42), shifted(4.0, count=1), offset_of([]),
     offset_of([Displacement((x, 0.0, 0.0), 0.4, 0.8) for x in (9, -5, 9, -5)])],
    ids=["near", "a part of the structure", "one case", "no case", "in all directions"],
)  # fmt: skip
def test_labels_that_do_not_are_taken(offset):
    assert judge(RULE, (OLD, NEW), offset).promote


def test_an_offset_is_the_mean_of_the_cases():
    offset = offset_of([Displacement((3.0, 4.0, 0.0), 0.5, 0.75)] * 3)
    assert (offset.distance_mm, offset.spread_mm, offset.dice_gain) == (5.0, 0.0, 0.25)


def test_the_rule_is_closed_and_says_itself():
    assert "0.005" in RULE.sentences[1]
    with pytest.raises(ValidationError, match="extra"):
        PromotionRule(new_gian=0.1)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        PromotionRule(old_loss=-1)
