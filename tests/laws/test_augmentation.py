"""What holds for every augmentation that can be drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.specs import AugmentSpec
from medseg.transforms.augment import AugmentParams, Elastic, Move, apply, draw, region

EVERYTHING = AugmentSpec(
    **{name: 0.7 for name in AugmentSpec.model_fields if name.endswith("_probability")},
    elastic_shift_mm=1.5,
)
patches = st.tuples(*(st.integers(4, 9),) * 2, st.integers(1, 9))
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)


def box(params, patch, seed=0, channels=2, classes=3):
    generator = np.random.default_rng(seed)
    _, size = region(params, (0, 0, 0), patch)
    image = generator.normal(size=(channels, *size)).astype(np.float32)
    return image, generator.integers(0, classes, size).astype(np.uint8)


@few
@given(patches, seeds)
def test_a_record_in_json_gives_the_same_sample(patch, seed):
    params = draw(EVERYTHING, patch, (1, 0.8, 2), np.random.default_rng(seed), channels=2)
    again = AugmentParams.model_validate_json(params.model_dump_json())
    assert again == params
    image, labels = box(params, patch)
    for one, other in zip(
        apply(image, labels, params, patch), apply(image, labels, again, patch), strict=True
    ):
        assert np.array_equal(one, other)


@few
@given(patches, seeds)
def test_the_generator_decides_everything(patch, seed):
    drawn = [draw(EVERYTHING, patch, (1, 1, 1), np.random.default_rng(seed)) for _ in range(2)]
    assert drawn[0] == drawn[1]


@few
@given(patches, seeds)
def test_samples_are_finite_and_hold_no_new_class(patch, seed):
    params = draw(EVERYTHING, patch, (1, 1, 3), np.random.default_rng(seed), channels=2)
    image, labels = apply(*box(params, patch, classes=2), params, patch)
    assert image.dtype == np.float32
    assert image.shape == (2, *patch)
    assert labels.shape == patch
    assert np.isfinite(image).all()
    assert labels.max() <= 1


@few
@given(patches, seeds)
def test_image_and_labels_move_together(patch, seed):
    """The mask of a class, moved as an image, is above a half only where the moved label is."""
    params = draw(EVERYTHING, patch, (1, 1, 1), np.random.default_rng(seed))
    params = AugmentParams(move=params.move, mirror=params.mirror)
    _, labels = box(params, patch)
    masks = np.stack([labels == n for n in range(3)]).astype(np.float32)
    shares, moved = apply(masks, labels, params, patch)
    clear = shares.max(0) > 0.5 + 1e-5
    assert np.array_equal(shares.argmax(0)[clear], moved[clear])
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)


@few
@given(patches, st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_two_mirrors_undo_each_other(patch, mirror):
    params = AugmentParams(mirror=mirror)
    image, labels = box(params, patch)
    once = apply(image, labels, params, patch)
    twice = apply(*once, params, patch)
    assert np.array_equal(twice[0], image)
    assert np.array_equal(twice[1], labels)
    assert any(mirror[a] and patch[a] > 1 for a in range(3)) or np.array_equal(once[0], image)


@few
@given(patches, seeds, st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_a_mirror_after_a_move_is_a_mirror_of_the_moved(patch, seed, mirror):
    """Without bending, which follows the patch and not the case."""
    params = draw(EVERYTHING, patch, (1, 1, 1), np.random.default_rng(seed))
    move = params.move and params.move.model_copy(update={"elastic": None})
    image, labels = box(AugmentParams(move=move), patch)
    straight, _ = apply(image, labels, AugmentParams(move=move), patch)
    mirrored, _ = apply(image, labels, AugmentParams(move=move, mirror=mirror), patch)
    axes = [a + 1 for a in range(3) if mirror[a]]
    np.testing.assert_allclose(mirrored, np.flip(straight, axes), atol=1e-4)


@pytest.mark.parametrize("in_plane", [False, True])
def test_no_move_and_a_move_by_nothing_are_the_same_crop(in_plane):
    patch = (6, 5, 4)
    params = AugmentParams(move=Move(spacing_mm=(1, 1, 1), in_plane=in_plane))
    image, labels = box(params, patch)
    moved, moved_labels = apply(image, labels, params, patch)
    last = slice(None) if in_plane else slice(0, -1)
    crop = (slice(0, -1), slice(0, -1), last)
    plain, plain_labels = apply(image[(slice(None), *crop)], labels[crop], AugmentParams(), patch)
    assert np.array_equal(moved, plain)
    assert np.array_equal(moved_labels, plain_labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("patch", [(7, 7, 7), (6, 6, 6)])
def test_quarter_turns_are_exact(axis, turns, patch):
    degrees = tuple(90.0 * turns if a == axis else 0.0 for a in range(3))
    params = AugmentParams(move=Move(rotation_degrees=degrees, spacing_mm=(1, 1, 1)))
    image, labels = box(params, patch)
    moved, moved_labels = apply(image, labels, params, patch)
    start, _ = region(params, tuple(n // 2 for n in patch), patch)
    crop = tuple(slice(-s, n - s) for s, n in zip(start, patch, strict=True))
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    expected = np.rot90(labels[crop], -turns, (first, second))
    assert np.array_equal(moved_labels, expected)
    expected_image = np.rot90(image[(slice(None), *crop)], -turns, (first + 1, second + 1))
    assert np.array_equal(moved, expected_image)


def test_a_quarter_turn_in_the_plane_is_exact():
    patch = (8, 8, 1)
    move = Move(rotation_degrees=(0, 0, 90), spacing_mm=(1, 1, 1), in_plane=True)
    params = AugmentParams(move=move)
    image, labels = box(params, patch)
    moved, _ = apply(image, labels, params, patch)
    assert np.array_equal(moved, np.rot90(image[:, :8, :8], -1, (1, 2)))


@few
@given(seeds)
def test_the_region_holds_all_that_is_read(seed):
    """A box that is 1 inside and continues as 1 for ever: nothing from beyond gets in."""
    generator = np.random.default_rng(seed)
    elastic = Elastic(shift_mm=(1.0, 1.0, 1.0), knots=(4, 4, 4), seed=seed)
    move = Move(
        rotation_degrees=tuple(generator.uniform(-180, 180, 3)),
        scale=generator.uniform(0.5, 2),
        elastic=elastic,
        spacing_mm=tuple(generator.uniform(0.5, 3, 3)),
    )
    patch = (6, 7, 5)
    params = AugmentParams(move=move)
    _, size = region(params, (0, 0, 0), patch)
    ramps = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij")).astype(np.float32)
    moved, _ = apply(ramps, np.zeros(size, np.uint8), params, patch)
    for axis in range(3):
        assert moved[axis].min() >= 0
        assert moved[axis].max() <= size[axis] - 1
