"""Laws of resampling, on small random volumes and grids."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from medseg.space.grids import Mapping, grid_at_spacing
from medseg.space.resample import resample_array, resample_labels
from medseg.space.votes import TopClasses, vote
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

KINDS = ("linear", "cubic", "nearest")
VALUES = (1, 2, 5)
LABELS = tuple(Label(value=v, name=f"organ {v}") for v in VALUES)
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
spacings = st.tuples(*[st.floats(0.4, 4.0)] * 3)
constants = st.floats(-1000, 1000).filter(lambda value: value == 0 or abs(value) > 1e-30)
"""What times a weight is still a normal float32."""
sizes = st.tuples(*[st.integers(1, 9)] * 3)


def turn(generator):
    """A random rotation, shape (3, 3)."""
    axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return axes * np.sign(np.linalg.det(axes))


@st.composite
def grids(draw, sizes=sizes):
    """A grid anywhere in space, at any angle."""
    generator = draw(seeds)
    affine = np.eye(4)
    affine[:3, :3] = turn(generator) * draw(spacings)
    affine[:3, 3] = generator.uniform(-50, 50, 3)
    return Geometry(affine, draw(sizes))


@st.composite
def neighbours(draw, grid):
    """A grid that overlaps `grid`: of another spacing, or turned and moved a little."""
    if draw(st.booleans()):
        return grid_at_spacing(grid, draw(spacings))
    generator = draw(seeds)
    affine = np.eye(4)
    affine[:3, :3] = turn(generator) * generator.uniform(0.4, 1.5, 3)
    size = draw(sizes)
    middle = affine[:3, :3] @ ((np.array(size) - 1) / 2)
    affine[:3, 3] = (np.array(grid.grid_size) - 1) / 2 - middle + generator.uniform(-1, 1, 3)
    return Geometry(grid.affine @ affine, size)


pairs = grids().flatmap(lambda grid: st.tuples(st.just(grid), neighbours(grid)))


def noise(generator, grid, channels=1):
    return generator.normal(size=(channels, *grid.grid_size)).astype(np.float32)


def random_labels(generator, grid):
    array = generator.choice([0, *VALUES], grid.grid_size).astype(np.uint8)
    return LabelMap(array, grid, LABELS)


def positions(source, target):
    index = np.indices(target.grid_size).reshape(3, -1)
    matrix = Mapping(source, target).matrix
    return (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *target.grid_size)


def inside(source, target, margin=-0.5):
    last = np.array(source.grid_size).reshape(3, 1, 1, 1) - 1
    at = positions(source, target)
    return ((at >= margin + 1e-4) & (at <= last - margin - 1e-4)).all(axis=0)


@quick
@given(grids(), seeds, st.sampled_from(KINDS))
def test_the_same_grid_changes_nothing(grid, generator, kind):
    image, labels = noise(generator, grid), random_labels(generator, grid)
    same = Geometry(grid.affine, grid.grid_size)
    np.testing.assert_array_equal(resample_array(image, grid, same, interpolation=kind), image)
    np.testing.assert_array_equal(resample_labels(labels, same).array, labels.array)


@quick
@given(pairs, constants, st.sampled_from(KINDS), st.booleans())
def test_a_constant_stays_constant(pair, value, kind, anti_alias):
    source, target = pair
    image = np.full((1, *source.grid_size), value, np.float32)
    moved = resample_array(image, source, target, interpolation=kind, anti_alias=anti_alias)
    np.testing.assert_allclose(moved, np.float32(value), rtol=2e-5)


@quick
@given(
    grids(st.tuples(*[st.integers(28, 34)] * 3)).flatmap(
        lambda grid: st.tuples(st.just(grid), neighbours(grid))
    ),
    seeds,
    st.sampled_from(("linear", "cubic")),
)
def test_a_linear_function_is_reproduced_in_the_interior(pair, generator, kind):
    source, target = pair
    slope = generator.uniform(-1, 1, 3)

    def ramp(grid):
        index = np.moveaxis(np.indices(grid.grid_size), 0, -1).astype(np.float64)
        return (grid.index_to_world(index) - grid.origin_mm) @ slope

    start = float(slope @ (source.origin_mm - target.origin_mm))
    image = ramp(source)[None].astype(np.float32)
    moved = resample_array(image, source, target, interpolation=kind)[0]
    deep = inside(source, target, margin=9)
    error = np.abs(moved - (ramp(target) - start))[deep]
    assert error.max(initial=0) <= 1e-4 * np.ptp(image)


@quick
@given(pairs, seeds, st.floats(0.01, 100.0), st.sampled_from(KINDS))
def test_the_unit_of_length_does_not_matter(pair, generator, factor, kind):
    source, target = pair
    scale = np.diag([factor, factor, factor, 1.0])
    image, labels = noise(generator, source), random_labels(generator, source)
    large = [Geometry(scale @ grid.affine, grid.grid_size) for grid in pair]
    np.testing.assert_allclose(
        resample_array(image, *large, interpolation=kind),
        resample_array(image, source, target, interpolation=kind),
        atol=1e-3,
    )
    scaled = LabelMap(labels.array, large[0], LABELS)
    np.testing.assert_array_equal(
        resample_labels(scaled, large[1]).array, resample_labels(labels, target).array
    )


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_all_48_orientations_commute_with_resampling(axes, flips):
    generator = np.random.default_rng(0)
    source = Geometry(np.diag([1.0, 1.5, 2.0, 1.0]), (6, 5, 4))
    aligned = grid_at_spacing(source, (2.0, 1.0, 1.0))
    oblique = np.eye(4)
    oblique[:3, :3] = turn(generator)
    image, labels = noise(generator, source), random_labels(generator, source)

    def turned(array):
        lead = array.ndim - 3
        array = array.transpose(*range(lead), *(a + lead for a in axes))
        return np.flip(array, tuple(n + lead for n in range(3) if flips[n]))

    other = source.reordered(axes, flips)
    for target in (aligned, Geometry(oblique, (5, 6, 4))):
        moved = resample_labels(labels, target)
        again = resample_labels(LabelMap(turned(labels.array), other, LABELS), target)
        np.testing.assert_array_equal(again.array, moved.array)
        elsewhere = resample_labels(labels, target.reordered(axes, flips))
        np.testing.assert_array_equal(elsewhere.array, turned(moved.array))
        for kind in KINDS:
            plain = resample_array(image, source, target, interpolation=kind)
            again = resample_array(turned(image), other, target, interpolation=kind)
            np.testing.assert_allclose(again, plain, atol=1e-5)
            there = target.reordered(axes, flips)
            elsewhere = resample_array(image, source, there, interpolation=kind)
            np.testing.assert_allclose(elsewhere, turned(plain), atol=1e-5)


@quick
@given(seeds, st.floats(1.5, 3.0), st.sampled_from(("linear", "cubic")))
def test_up_and_down_again_hardly_changes_a_smooth_image(generator, factor, kind):
    grid = Geometry(np.eye(4), (12, 11, 10))
    smooth = gaussian_filter(noise(generator, grid)[0], 2.0)[None]
    finer = grid_at_spacing(grid, (1 / factor, 1 / factor, 1 / factor))
    up = resample_array(smooth, grid, finer, interpolation=kind)
    down = resample_array(up, finer, grid, interpolation=kind, anti_alias=False)
    limit = {"linear": 0.12, "cubic": 0.06}[kind]
    assert np.abs(down - smooth).max() < limit * np.ptp(smooth)


@quick
@given(pairs, seeds)
def test_a_vote_invents_no_label(pair, generator):
    source, target = pair
    labels = random_labels(generator, source)
    moved = resample_labels(labels, target).array
    assert np.isin(moved, [0, *np.unique(labels.array)]).all()
    assert np.isin(moved[inside(source, target)], labels.array).all()


@quick
@given(pairs, seeds)
def test_renaming_labels_commutes_with_the_vote(pair, generator):
    source, target = pair
    labels = random_labels(generator, source)
    renamed = np.array([0, 5, 1, 0, 0, 2], np.uint8)
    moved = resample_labels(labels, target).array
    other = resample_labels(LabelMap(renamed[labels.array], source, LABELS), target).array
    np.testing.assert_array_equal(other, renamed[moved])


@quick
@given(pairs, seeds)
def test_a_vote_is_the_largest_of_the_interpolated_masks(pair, generator):
    source, target = pair
    labels = random_labels(generator, source)
    at = positions(source, target)
    last = np.array(source.grid_size).reshape(3, 1, 1, 1) - 1
    masks = np.stack(
        [
            map_coordinates((labels.array == v).astype(float), np.clip(at, 0, last), order=1)
            for v in (0, *VALUES)
        ]
    )
    moved = resample_labels(labels, target).array
    share = np.take_along_axis(masks, np.searchsorted((0, *VALUES), moved)[None], axis=0)[0]
    deep = inside(source, target)
    assert (share >= masks.max(axis=0) - 1e-4)[deep].all()


@quick
@given(pairs, seeds, st.integers(1, 6))
def test_with_a_slot_for_each_class_the_vote_is_the_arg_max_of_all(pair, generator, count):
    source, target = pair
    top = TopClasses.empty(count, source, slots=6)
    top.weights[:] = generator.random(top.weights.shape)
    at = np.round(positions(source, target) * 2**17) / 2**17
    last = np.array(source.grid_size).reshape(3, 1, 1, 1) - 1
    dense = np.stack(
        [map_coordinates(w.astype(np.float64), np.clip(at, 0, last), order=1) for w in top.weights]
    )
    expected = np.where(((at < -0.5) | (at > last + 0.5)).any(axis=0), 0, dense.argmax(axis=0))
    best, second = np.sort(np.vstack([dense, dense * 0, dense * 0]), axis=0)[[-1, -2]]
    clear = (best - second > 1e-5) & (inside(source, target) | (expected == 0))
    found = vote(top, target)
    np.testing.assert_array_equal(found[clear], expected[clear])


@quick
@given(grids(), spacings, seeds, st.sampled_from(KINDS), st.booleans())
def test_aligned_and_rotated_paths_agree(grid, spacing_mm, generator, kind, anti_alias):
    """A grid turned by too little to matter takes the general path."""
    target = grid_at_spacing(grid, spacing_mm)
    image = noise(generator, grid)
    aligned = resample_array(image, grid, target, interpolation=kind, anti_alias=anti_alias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.space.grids.ALIGNED", -1.0)
        assert not Mapping(grid, target).is_aligned
        general = resample_array(image, grid, target, interpolation=kind, anti_alias=anti_alias)
        labels = random_labels(generator, grid)
        voted = resample_labels(labels, target).array
    np.testing.assert_allclose(general, aligned, atol=1e-4)
    np.testing.assert_array_equal(resample_labels(labels, target).array, voted)
