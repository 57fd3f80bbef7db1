"""What a checkpoint does not say comes from a plan, from wishes, or from stated defaults."""

import pytest
from planning_around import some_plan

from medseg.dataset.normalise import UnitRange, ZScore
from medseg.errors import PlanError
from medseg.networks import paper_spec
from medseg.specs import MedNeXtSpec, MirrorSpec, TransUNetSpec, UNETRSpec
from medseg.volume.regions import PaintedRegion
from medseg.weights.surroundings import ROWS_FIRST, Wishes, plan_around

SMALL = MedNeXtSpec.scaled(dims=3, grid=(32, 32, 32), in_channels=1, classes=3, width_share=0.125)
FLAT = TransUNetSpec.scaled(dims=2, grid=(64, 64), in_channels=1, classes=3, width_share=0.1)


def around(spec, base=None, *, sees_rows=False, **wishes):
    return plan_around(spec, base, Wishes(**wishes), name="weights", sees_rows=sees_rows)


def test_defaults_are_those_that_are_stated():
    plan = around(SMALL)
    assert (plan.dataset, plan.orientation, plan.spacing_mm) == ("weights", "RAS", (1.0, 1.0, 1.0))
    assert [label.name for label in plan.labels] == ["class 1", "class 2"]
    assert plan.normalisations == (ZScore(),)
    assert plan.patch_size == plan.window.patch_size == (128, 128, 128)
    assert plan.reasons[0].value == "defaults"


def test_three_channels_in_2d_are_a_picture():
    plan = around(FLAT.model_copy(update={"in_channels": 3}), sees_rows=True)
    assert [channel.name for channel in plan.channels] == ["red", "green", "blue"]
    assert set(plan.normalisations) == {UnitRange(scale=255)}
    assert plan.orientation == "PLS"
    assert plan.patch_size == (64, 64, 1)


def test_wishes_count():
    plan = around(
        SMALL,
        labels=("liver", "tumour"),
        spacing_mm=(0.8, 0.8, 3.0),
        modality="CT",
        orientation="LPS",
    )
    assert [label.name for label in plan.labels] == ["liver", "tumour"]
    assert (plan.spacing_mm, plan.orientation) == ((0.8, 0.8, 3.0), "LPS")
    assert plan.channels[0].modality == "CT"


def test_other_labels_are_other_classes():
    plan = around(SMALL, labels=("a", "b", "c", "d"))
    assert plan.network.classes == 5


def test_a_plan_gives_all_but_the_network():
    base = some_plan(dims=3)
    plan = around(SMALL, base)
    assert plan.network == SMALL
    assert plan.patch_size == (32, 40, 16), "multiples of 8 that hold the plan's"
    for name in ("labels", "channels", "spacing_mm", "normalisations", "orientation", "dataset"):
        assert getattr(plan, name) == getattr(base, name)


def test_a_plan_of_regions_has_a_channel_for_each():
    base = some_plan(dims=3)
    regions = (
        PaintedRegion(name="whole", values=(1, 2), painted=1),
        PaintedRegion(name="core", values=(2,), painted=2),
    )
    loss = base.loss.model_copy(update={"kind": "dice_bce"})
    plan = around(SMALL, base.model_copy(update={"regions": regions, "loss": loss}))
    assert plan.network.classes == 2


def test_a_network_of_one_size_sets_the_patch():
    spec = UNETRSpec.scaled(dims=3, grid=(32, 32, 32), in_channels=1, classes=3, width_share=0.1)
    assert around(spec, some_plan(dims=3)).patch_size == spec.grid
    assert around(spec).patch_size == spec.grid


def test_rows_come_first_where_a_network_sees_pictures():
    """Axes, spacing, patch and mirrors of the plan change places together."""
    base = some_plan(dims=2)
    assert (base.orientation, base.spacing_mm) == ("RAS", (1.0, 2.0, 5.0))
    plan = around(FLAT, base, sees_rows=True)
    assert (plan.orientation, plan.spacing_mm) == ("PLS", (2.0, 1.0, 5.0))
    assert plan.patch_size == (48, 32, 1)
    assert base.augment.mirror.axes == (0,)
    assert plan.augment.mirror.axes == (1,), "still left and right"
    assert around(FLAT, base, sees_rows=True, orientation="RAS").spacing_mm == base.spacing_mm


def test_each_slice_direction_has_rows_and_columns():
    for slices, axes in ROWS_FIRST.items():
        assert axes[2] == slices
        assert {"RL".find(x) >= 0 for x in axes} == {True, False}
        assert len({"RLAPSI".index(x) // 2 for x in axes}) == 3


def test_channels_and_axes_must_fit():
    with pytest.raises(PlanError, match="takes 2 channels of 3 spatial axes"):
        around(SMALL.model_copy(update={"in_channels": 2}), some_plan(dims=3))
    with pytest.raises(PlanError, match="2d plan with 1 channels"):
        around(SMALL, some_plan(dims=2))
    with pytest.raises(PlanError, match="spacings and patch sizes are positive"):
        around(SMALL, spacing_mm=(0.0, 1.0, 1.0))
    with pytest.raises(PlanError, match="orientation"):
        around(SMALL, orientation="up")


@pytest.mark.parametrize("name", ["mednext", "transunet", "unetr", "swin_unetr", "medt"])
def test_each_paper_s_network_has_a_default_plan(name):
    spec = paper_spec(name)
    assert around(spec).network == spec


def test_mirrors_of_a_plan_are_kept():
    assert some_plan(dims=2).augment.mirror == MirrorSpec(axes=(0,))
