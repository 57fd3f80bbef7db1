"""Which networks of a first stage may look at a case."""

import pytest

from medseg.dataset.plan import Plan
from medseg.training.first_stage import FirstStage


@pytest.fixture
def stage(plan: Plan) -> FirstStage:
    seen = (frozenset("bc"), frozenset("ac"), frozenset("ab"))
    return FirstStage(plan, ({}, {"one": 1}, {"two": 2}), seen, 0.0, {})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("cases", "numbers"),
    [("a", (0,)), ("c", (2,)), ("d", (0, 1, 2)), ("ad", (0,)), ("", (0, 1, 2))],
)
def test_those_that_trained_on_none_of_the_cases(
    stage: FirstStage, cases: str, numbers: tuple[int, ...]
) -> None:
    assert stage.unaware_of(cases) == numbers


def test_all_where_each_knows_one(stage: FirstStage) -> None:
    assert stage.unaware_of("abc") == (0, 1, 2)


def test_a_bundle_has_all_of_them(stage: FirstStage) -> None:
    assert stage.whole.members == stage.members
    assert stage.only((2, 0)).members == (stage.members[2], stage.members[0])
