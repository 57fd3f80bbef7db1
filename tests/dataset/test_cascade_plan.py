"""The cascade: planned exactly where 3d_low is, with a channel for each structure of its mask."""

import pytest
from planning import CPU_QUARTER, GPU_DAY, make_fingerprint
from pydantic import ValidationError

from medseg.dataset.cascade import TRAININGS, share_of
from medseg.dataset.plan import Plan, make_plan
from medseg.errors import PlanError
from medseg.specs import Budget, MaskAugmentSpec

ABDOMEN = make_fingerprint(((0.8, 0.8, 2.5),) * 60, ((512, 512, 200),) * 60, ("CT",))


def test_it_is_full_resolution_with_a_channel_for_each_structure():
    full, low = (make_plan(ABDOMEN, GPU_DAY, config=name) for name in ("3d_full", "3d_low"))
    cascade = make_plan(ABDOMEN, GPU_DAY, config="cascade")
    assert cascade.config == "cascade"
    assert (cascade.spacing_mm, cascade.median_grid) == (full.spacing_mm, full.median_grid)
    assert cascade.mask_channels == len(cascade.labels) == 2
    assert cascade.network.in_channels == full.network.in_channels + 2
    assert full.mask_channels == low.mask_channels == 0
    assert cascade.mask_augment == MaskAugmentSpec()
    said = {reason.what: reason for reason in cascade.reasons}
    assert said["configuration"].value == "cascade"
    assert said["first stage"].value.startswith("3d_low at 1.675 x 1.675 x 3.262")
    assert "2 channels" in said["first stage"].why
    assert Plan.model_validate_json(cascade.model_dump_json()) == cascade


def test_regions_are_shown_as_the_labels_of_the_mask():
    regions = ({"name": "all", "values": (1, 2), "painted": 1},
               {"name": "core", "values": (2,), "painted": 2})  # fmt: skip
    plan = make_plan(ABDOMEN.model_validate(ABDOMEN.model_dump() | {"regions": regions}), GPU_DAY,
                     config="cascade")  # fmt: skip
    assert (plan.network.classes, plan.mask_channels) == (2, 2)


@pytest.mark.parametrize(
    ("fingerprint", "why"),
    [
        (make_fingerprint(), "full resolution already fits"),
        (make_fingerprint(grid_sizes=((256, 256, 1),) * 180), "cases of one slice"),
    ],
)
def test_without_a_coarser_resolution_it_is_refused(fingerprint, why):
    with pytest.raises(PlanError, match=f"no 3d_low that it could refine: {why}|needs volumes"):
        make_plan(fingerprint, CPU_QUARTER, config="cascade")


def test_auto_never_takes_it():
    assert make_plan(ABDOMEN, GPU_DAY).config == "3d_full"


def test_a_stage_has_half_of_the_time():
    assert TRAININGS == 2
    assert share_of("cascade", GPU_DAY).seconds == GPU_DAY.seconds / 2
    assert share_of("3d_low", GPU_DAY) is GPU_DAY
    epochs = Budget(epochs=3, memory_bytes=1 << 30, gflops=1)
    assert share_of("cascade", epochs) is epochs


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        ("cascade", {"mask_augment": None}, "varies the mask"),
        ("3d_full", {"mask_augment": {}}, "varies the mask"),
        ("cascade", {"config": "3d_full", "mask_augment": None}, "as many channels as"),
    ],
)
def test_a_plan_that_is_half_a_cascade_is_refused(config, change, words):
    plan = make_plan(ABDOMEN, GPU_DAY, config=config)
    with pytest.raises(ValidationError, match=words):
        Plan.model_validate(plan.model_dump() | change)


def test_other_plans_are_written_as_they_always_were():
    plan = make_plan(ABDOMEN, GPU_DAY)
    assert "mask" not in plan.model_dump_json(exclude={"reasons"})
