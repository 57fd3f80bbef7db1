"""How a volume is gone through: little is held, and all of it is passed."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.inference.engine import BATCH_VOXELS, GPU_BATCH_VOXELS
from medseg.inference.passage import Passage, Sweep, groups, passages
from medseg.inference.window import spans
from medseg.specs import WindowSpec
from medseg.volume.geometry import Geometry

MM = (1.0, 1.0, 1.0)


def to_sweep(size, patch, *, voxel_bytes=20, orientation="RAS"):
    grid = Geometry.from_spacing(MM, size)
    spec = WindowSpec(patch_size=patch)
    return Sweep(grid.reordered(*grid.steps_to(orientation)), spec, voxel_bytes)


def test_a_small_volume_is_held_whole():
    sweep = to_sweep((40, 50, 60), (16, 16, 16))
    (passage,) = passages([sweep], sweep.grid)
    assert passage == Passage(0, 40, 32)
    assert sweep.held_bytes(passage) == 40 * 50 * 60 * 20


@pytest.mark.parametrize(("patch", "batches"), [((16, 16, 16), (32, 128)), ((64, 64, 64), (1, 2))])
def test_a_gpu_is_shown_more_at_a_time(patch, batches):
    """So many windows as have the voxels that suit what computes, and one at least."""
    sweep = to_sweep((80, 80, 80), patch)
    for voxels, batch in zip((BATCH_VOXELS, GPU_BATCH_VOXELS), batches, strict=True):
        suited = sweep._replace(batch_voxels=voxels)
        assert passages([suited], sweep.grid)[0].batch == batch
        assert passages([suited], sweep.grid, slot_bytes=0)[0].batch == batch


@pytest.mark.parametrize(
    ("size", "patch", "axis"),
    [
        ((512, 512, 600), (96, 96, 96), 2),
        ((512, 512, 100), (200, 200, 20), 2),
        ((512, 512, 2000), (512, 512, 1), 2),
        ((2000, 30, 30), (64, 64, 64), 0),
    ],
)
def test_slabs_follow_the_axis_that_needs_least(size, patch, axis):
    sweep = to_sweep(size, patch)
    (passage,) = passages([sweep], sweep.grid, slot_bytes=0)
    assert passage.axis == axis
    assert passage.planes == min(patch[axis], size[axis])
    assert sweep.held_bytes(passage) < sweep.whole_bytes


def test_more_memory_holds_more_planes():
    sweep = to_sweep((100, 100, 400), (50, 50, 20))
    held = [passages([sweep], sweep.grid, slot_bytes=n << 20)[0] for n in (0, 20, 40, 80)]
    planes = [passage.planes for passage in held]
    assert planes[:3] == sorted(set(planes[:3]))
    assert planes[0] == 20
    assert held[-1] == Passage.whole((100, 100, 400), sweep.spec)
    assert all(sweep.held_bytes(held[n]) <= (20 << 20) * n for n in (1, 2))


def test_several_follow_one_axis_of_the_target():
    one = to_sweep((100, 100, 400), (50, 50, 20))
    other = to_sweep((100, 100, 400), (100, 100, 20), orientation="SRA")
    chosen = passages([one, other], one.grid, slot_bytes=0)
    assert [passage.axis for passage in chosen] == [2, 0]


def test_opposite_directions_are_held_whole():
    one = to_sweep((30, 30, 90), (10, 10, 10))
    turned = to_sweep((30, 30, 90), (10, 10, 10), orientation="LPI")
    chosen = passages([one, turned], one.grid, slot_bytes=0)
    assert [p.planes for p in chosen] == [30, 30]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 90), patch=st.integers(1, 30), planes=st.integers(1, 90))
def test_groups_pass_each_window_once_and_fit(size, patch, planes):
    starts = [s.start for s in spans(size, patch, WindowSpec(patch_size=(patch,) * 3))]
    found = list(groups(starts, patch, Passage(0, planes, 1)))
    assert found[0][0] == 0
    assert found[-1][1] == len(starts)
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(starts[b - 1] + patch - starts[a] <= max(planes, patch) for a, b in found)
