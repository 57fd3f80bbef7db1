"""The coarser resolution: when it is planned, and how coarse it is."""

from math import prod

import pytest
from planning import CPU_QUARTER, GPU_DAY, make_fingerprint

from medseg.dataset.frame import choose_frame
from medseg.dataset.lowres import ENOUGH_CONTEXT, FEWER_VOXELS, SPACING_STEP, low_frame
from medseg.dataset.plan import make_plan
from medseg.errors import PlanError

ABDOMEN = make_fingerprint(((0.8, 0.8, 2.5),) * 60, ((512, 512, 200),) * 60, ("CT",))
EVEN = make_fingerprint(((1.0, 1.0, 1.0),) * 9, ((320, 320, 320),) * 9)


def test_the_spacing_grows_in_steps_until_the_patch_sees_a_quarter():
    full = choose_frame(EVEN, "3d_full")
    low = low_frame(full, lambda _: (128, 128, 128))
    steps = next(n for n in range(99) if 128**3 / round(320 / SPACING_STEP**n) ** 3 >= 0.25)
    assert low.config == "3d_low"
    assert low.spacing_mm == pytest.approx((SPACING_STEP**steps,) * 3, abs=1e-6)
    assert low.grid == (round(320 / SPACING_STEP**steps),) * 3


def test_finer_axes_grow_alone_until_they_are_within_a_factor_of_two():
    full = choose_frame(ABDOMEN, "3d_full")
    low = low_frame(full, lambda _: (160, 160, 80))
    times = [b / a for a, b in zip(full.spacing_mm, low.spacing_mm, strict=True)]
    assert times[0] == times[1] > times[2]
    assert low.spacing_mm[2] / low.spacing_mm[0] <= 2
    assert 160 * 160 * 80 / prod(low.grid) >= ENOUGH_CONTEXT


def test_the_patch_is_that_of_the_coarser_grid():
    low = make_plan(ABDOMEN, GPU_DAY, config="3d_low")
    full = make_plan(ABDOMEN, GPU_DAY)
    assert (low.config, full.config) == ("3d_low", "3d_full")
    assert prod(low.patch_size) / prod(low.median_grid) >= ENOUGH_CONTEXT
    assert prod(full.median_grid) / prod(low.median_grid) >= FEWER_VOXELS
    assert low.preprocessing_hash != full.preprocessing_hash
    assert [r.value for r in low.reasons[:1]] == ["3d_low"]
    assert all(reason.value and reason.why.endswith(".") for reason in low.reasons)


def test_memory_decides_and_not_time():
    """A short time makes patches small, which is no reason to see less detail."""
    short = GPU_DAY.model_copy(update={"seconds": 60})
    assert make_plan(ABDOMEN, short, config="3d_low").spacing_mm == (
        make_plan(ABDOMEN, GPU_DAY, config="3d_low").spacing_mm
    )


@pytest.mark.parametrize("patch", [(40, 56, 40), (35, 50, 9)])
def test_where_full_resolution_fits_it_is_refused(patch):
    frame = choose_frame(make_fingerprint(), "3d_full")
    with pytest.raises(PlanError, match=r"full resolution already fits.*--config 3d_full"):
        low_frame(frame, lambda _: patch)


def test_where_the_voxels_would_hardly_be_fewer_it_is_refused():
    frame = choose_frame(make_fingerprint(), "3d_full")
    with pytest.raises(PlanError, match=r"its patch sees 24 %.*1/1\.\d+ of the voxels"):
        low_frame(frame, lambda _: (24, 25, 25))


def test_the_hippocampus_needs_no_coarser_resolution():
    with pytest.raises(PlanError, match="full resolution already fits"):
        make_plan(make_fingerprint(), CPU_QUARTER, config="3d_low")


def test_slices_have_no_volumes_at_any_resolution():
    slices = make_fingerprint(grid_sizes=((256, 256, 1),) * 180)
    with pytest.raises(PlanError, match="needs volumes"):
        make_plan(slices, GPU_DAY, config="3d_low")
