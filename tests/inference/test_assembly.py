"""Slab by slab is as good as all at once, and as nnU-Net's way where that is affordable."""

import numpy as np
import pytest
from test_window import Lookup, naive, smooth_logits

from medseg.inference.assembly import Stream, assemble
from medseg.inference.elected import elected
from medseg.inference.evidence import probabilities
from medseg.inference.passage import PIECES, Passage, Sweep, passages
from medseg.inference.quality import Expectation
from medseg.inference.window import slabs, sweep
from medseg.space.grids import grid_at_spacing
from medseg.space.resample import resample_array
from medseg.space.votes import SLOTS
from medseg.specs import WindowSpec
from medseg.volume.geometry import Geometry

SIZE, PATCH = (24, 19, 30), (8, 9, 7)
SPEC = WindowSpec(patch_size=PATCH)
GRID = Geometry.from_spacing((2.0, 1.5, 1.0), SIZE)
FINER = grid_at_spacing(GRID, (1.3, 1.1, 0.8))
TARGETS = {
    "same": GRID,
    "finer": FINER,
    "turned": FINER.reordered(*FINER.steps_to("PIL")),
    "wider": Geometry.from_spacing((1.7, 1.7, 1.7), (40, 30, 30), origin_mm=(-9, -8, -7)),
}
INDEX = np.arange(np.prod(SIZE), dtype=np.float32).reshape(1, *SIZE)


def said(classes, *, seed=0, grid=GRID):
    """A network, and what it is shown, on a grid."""
    network = Lookup(smooth_logits(classes, SIZE, seed=seed), PATCH)
    return {
        "image": INDEX, "network": network, "spec": SPEC, "classes": classes, "geometry": grid,
    }  # fmt: skip


def streamed(told, target, passage, expectation=None):
    expectation = expectation or Expectation(told["classes"])
    return Stream(slabs(**told, passage=passage), told["geometry"], passage, target, expectation)


def elect(tops, part):
    return elected(tops, part, (), ())


def dice(found, expected):
    values = list(np.unique(expected))
    both = [2 * ((found == n) & (expected == n)).sum() for n in values]
    sizes = [(found == n).sum() + (expected == n).sum() for n in values]
    return np.array(both) / sizes


@pytest.mark.parametrize("classes", [3, SLOTS + 4])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("planes", [0, 5])
def test_slabs_are_the_parts_of_a_whole(classes, axis, planes):
    told = said(classes)
    whole = probabilities(sweep(**told))
    passage = Passage(axis, PATCH[axis] + planes, 3)
    end = 0
    for slab in slabs(**told, passage=passage):
        assert slab.first == end - slab.repeated
        start, size = [0, 0, 0], list(SIZE)
        start[axis], size[axis] = slab.first, slab.top.geometry.grid_size[axis]
        expected = whole.cropped(tuple(start), tuple(size))
        assert slab.top.geometry.same_space(expected.geometry)
        assert slab.top.geometry.grid_size[axis] <= passage.planes // PIECES + 2
        weights = probabilities(slab.top).weights
        tolerance = 1e-5 if classes <= SLOTS else 0.01  # slots are won in the order of windows
        np.testing.assert_allclose(weights.max(0), expected.weights.max(0), atol=tolerance)
        end = slab.first + size[axis]
        assert slab.is_last == (end == SIZE[axis])
    assert end == SIZE[axis]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_mask_whichever_way_it_was_gone_through(target, axis):
    told, expectations = said(5), [Expectation(5), Expectation(5)]
    grid = TARGETS[target]
    passage = Passage(axis, PATCH[axis], 4)
    whole = Passage.whole(SIZE, SPEC)
    masks = [
        assemble([streamed(told, grid, one, seen)], grid, elect)
        for one, seen in zip((whole, passage), expectations, strict=True)
    ]
    assert len(np.unique(masks[0])) == 5
    assert (masks[0] != masks[1]).sum() <= 2  # ties, by the order of sums
    assert expectations[0].dice() == pytest.approx(expectations[1].dice(), abs=1e-5)


@pytest.mark.parametrize("classes", [3, SLOTS, 30])
def test_it_is_the_argmax_of_interpolated_logits(classes):
    """nnU-Net's way needs all logits on the case's own grid."""
    told = said(classes)
    dense = naive(INDEX, told["network"], SPEC, classes).astype(np.float32)
    moved = resample_array(dense, GRID, FINER, interpolation="linear", anti_alias=False)
    expected = moved.argmax(0)
    found = assemble([streamed(told, FINER, Passage(2, PATCH[2], 4))], FINER, elect)
    scores = dice(found, expected)
    assert scores.mean() >= (0.9999 if classes <= SLOTS else 0.998)


def test_two_configurations_meet_slab_by_slab():
    """On grids of other spacings and orientations, at other paces."""
    one = said(4)
    turned = GRID.reordered(*GRID.steps_to("RAS"))
    other = said(4, seed=1, grid=Geometry(turned.affine, SIZE))
    spec = WindowSpec(patch_size=(8, 9, 12))
    other |= {"spec": spec, "network": Lookup(smooth_logits(4, SIZE, seed=1), (8, 9, 12))}
    passes = [Passage(2, 7, 2), Passage(2, 15, 1)]
    streams = [streamed(x, FINER, p) for x, p in zip((one, other), passes, strict=True)]
    found = assemble(streams, FINER, elect)
    tops = [sweep(**one), sweep(**other)]
    assert (found != elected(tops, FINER, (), ())).sum() <= 2


def test_one_held_whole_meets_another_in_slabs():
    one, other = said(3), said(3, seed=1)
    passes = [Passage(2, 7, 2), Passage(2, SIZE[2], 2)]
    streams = [streamed(x, FINER, p) for x, p in zip((one, other), passes, strict=True)]
    found = assemble(streams, FINER, elect)
    assert (found != elected([sweep(**one), sweep(**other)], FINER, (), ())).sum() <= 2


@pytest.mark.parametrize(
    ("size", "patch"),
    [
        ((1, 40, 30), (8, 8, 8)),
        ((40, 1, 1), (8, 8, 8)),
        ((1, 1, 1), (4, 4, 4)),
        ((5, 6, 300), (8, 8, 8)),
        ((12, 10, 200), (12, 8, 1)),
        ((300, 3, 2), (16, 16, 1)),
    ],
)
def test_unusual_shapes(size, patch):
    logits = smooth_logits(3, size)
    image = np.arange(np.prod(size), dtype=np.float32).reshape(1, *size)
    grid, spec = Geometry.from_spacing((1.0, 1.0, 1.0), size), WindowSpec(patch_size=patch)
    network = Lookup(logits, patch)
    told = {"image": image, "network": network, "spec": spec, "classes": 3, "geometry": grid}
    (passage,) = passages([Sweep(grid, spec, 15)], grid, slot_bytes=0)
    found = assemble([streamed(told, grid, passage)], grid, elect)
    assert (found != naive(image, network, spec, 3).argmax(0)).sum() <= 1


def test_two_thousand_slices_hold_one_window_of_them():
    size, patch = (6, 5, 2000), (6, 5, 8)
    grid, spec = Geometry.from_spacing((1.0, 1.0, 1.0), size), WindowSpec(patch_size=patch)
    one = Sweep(grid, spec, 15)
    (passage,) = passages([one], grid, slot_bytes=0)
    assert one.held_bytes(passage) < one.whole_bytes / 100
