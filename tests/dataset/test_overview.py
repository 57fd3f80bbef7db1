"""All configurations side by side."""

import pytest
from planning import CPU_QUARTER, GPU_DAY, make_fingerprint

from medseg.dataset.cascade import share_of
from medseg.dataset.cost import parameter_count
from medseg.dataset.overview import configurations
from medseg.dataset.plan import make_plan
from medseg.errors import PlanError

ABDOMEN = make_fingerprint(((0.8, 0.8, 2.5),) * 60, ((512, 512, 200),) * 60, ("CT",))


def test_each_is_what_would_be_trained():
    shown = {one.name: one for one in configurations(ABDOMEN, GPU_DAY)}
    assert list(shown) == ["2d", "3d_full", "3d_low", "cascade"]
    for name in shown:
        plan = make_plan(ABDOMEN, share_of(name, GPU_DAY), config=name)
        assert shown[name].plan == plan
        facts = shown[name].facts(ABDOMEN.cases)
        assert facts["parameters"] == parameter_count(plan.network)
        assert facts["steps"] == pytest.approx(
            0.85 * plan.budget.seconds / facts["step_seconds"], rel=0.01
        )
        assert facts["memory_bytes"] > 0
    assert shown["cascade"].plan.budget.seconds == GPU_DAY.seconds / 2
    assert "two trainings" in shown["cascade"].why


def test_what_is_not_planned_says_why():
    shown = {one.name: one for one in configurations(make_fingerprint(), CPU_QUARTER)}
    assert shown["3d_low"].plan is None
    assert shown["3d_low"].why.startswith("Full resolution already fits: its patch sees")
    assert shown["cascade"].plan is None
    assert shown["cascade"].why.startswith("There is no 3d_low that it could refine: full")
    assert shown["3d_low"].facts(180) == {
        "config": "3d_low", "chosen": False, "planned": False, "why": shown["3d_low"].why,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "chosen"), [((35, 50, 36), "3d_full"), ((64, 64, 3), "2d"), ((64, 64, 1), "2d")]
)
def test_the_one_that_auto_takes_is_marked(grid, chosen):
    fingerprint = make_fingerprint(grid_sizes=(grid,) * 180)
    shown = configurations(fingerprint, CPU_QUARTER)
    taken = [one for one in shown if one.is_chosen]
    assert [one.name for one in taken] == [chosen]
    assert taken[0].why == make_plan(fingerprint, CPU_QUARTER).reasons[0].why
    assert all(one.why.endswith(".") for one in shown)


def test_slices_have_one_configuration():
    shown = configurations(make_fingerprint(grid_sizes=((64, 64, 1),) * 180), CPU_QUARTER)
    assert [one.name for one in shown if one.plan] == ["2d"]


def test_where_nothing_can_be_planned_it_is_an_error():
    tiny = CPU_QUARTER.model_copy(update={"memory_bytes": 1 << 20})
    with pytest.raises(PlanError, match="fit the memory"):
        configurations(make_fingerprint(), tiny)
