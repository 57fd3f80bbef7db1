import numpy as np
import pytest

from medseg.errors import WrongInput
from medseg.specs import AugmentSpec, MirrorSpec
from medseg.transforms.augment import AugmentParams, Elastic, Move, apply, draw, region

PATCH = (8, 10, 6)
SPACING = (1.0, 1.0, 1.0)
OFF = {name: 0.0 for name in AugmentSpec.model_fields if name.endswith("_probability")}


def spec(**probabilities):
    return AugmentSpec(**(OFF | {"mirror": MirrorSpec()} | probabilities))


def shares(setting, count=2000, patch=PATCH):
    """How often each part was drawn."""
    generator = np.random.default_rng(0)
    drawn = [draw(setting, patch, SPACING, generator) for _ in range(count)]
    return {
        name: np.mean([getattr(params, name) is not None for params in drawn])
        for name in AugmentParams.model_fields
        if name != "mirror"
    }


def test_parts_are_as_frequent_as_the_spec_says():
    found = shares(AugmentSpec())
    expected = {
        "move": 1 - 0.8 * 0.8,
        "noise": 0.1,
        "blur": 0.2 * 0.5,
        "brightness": 0.15,
        "contrast": 0.15,
        "low_resolution": 0.25 * 0.5,
        "gamma_inverted": 0.1,
        "gamma": 0.3,
    }
    assert found == pytest.approx(expected, abs=0.035)


def test_nothing_is_drawn_where_nothing_shall_be():
    assert draw(spec(), PATCH, SPACING, np.random.default_rng(0)) == AugmentParams()


def test_drawn_numbers_are_in_range():
    generator = np.random.default_rng(0)
    setting = spec(rotation_probability=1, scale_probability=1, gamma_probability=1)
    drawn = [draw(setting, PATCH, SPACING, generator, channels=2) for _ in range(500)]
    degrees = np.array([params.move.rotation_degrees for params in drawn])
    scales = np.array([params.move.scale for params in drawn])
    gammas = np.array([params.gamma for params in drawn])
    assert -30 <= degrees.min() < -29
    assert 29 < degrees.max() <= 30
    assert 0.7 <= scales.min() < 0.72
    assert 1.38 < scales.max() <= 1.4
    assert gammas.shape == (500, 2)
    assert (gammas < 1).mean() == pytest.approx(0.5, abs=0.05)


def test_mirrors_are_drawn_for_the_axes_of_the_spec_only():
    generator = np.random.default_rng(0)
    setting = spec(mirror=MirrorSpec(axes=(0, 2)))
    flips = np.array([draw(setting, PATCH, SPACING, generator).mirror for _ in range(500)])
    assert flips.mean(0) == pytest.approx([0.5, 0, 0.5], abs=0.07)


@pytest.mark.parametrize("patch", [(16, 16, 1), (32, 16, 10)])
def test_a_flat_patch_moves_in_its_plane(patch):
    setting = spec(rotation_probability=1, scale_probability=1, low_resolution_probability=1)
    setting = setting.model_copy(update={"elastic_probability": 1, "elastic_shift_mm": 2})
    params = draw(setting, patch, SPACING, np.random.default_rng(1))
    assert params.move.in_plane
    assert params.move.rotation_degrees[:2] == (0, 0)
    assert params.move.matrix[2].tolist() == [0, 0, 1]
    assert params.move.matrix[:, 2].tolist() == [0, 0, 1]
    assert params.move.elastic.shift_mm[2] == 0
    start, size = region(params, (20, 20, 20), patch)
    assert (start[2], size[2]) == (20 - patch[2] // 2, patch[2])


def test_a_deep_patch_moves_in_space():
    params = draw(spec(rotation_probability=1), (16, 16, 8), SPACING, np.random.default_rng(1))
    assert not params.move.in_plane


def test_a_rotation_turns_millimetres_and_not_voxels():
    """A quarter turn about K maps 1 voxel of 2 mm along J to 2 voxels of 1 mm along I."""
    move = Move(rotation_degrees=(0, 0, 90), spacing_mm=(1, 2, 1))
    np.testing.assert_allclose(move.matrix @ [0, 1, 0], [-2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(move.matrix @ [2, 0, 0], [0, 1, 0], atol=1e-12)


def test_bending_never_folds():
    setting = spec(elastic_probability=1, elastic_shift_mm=1000)
    elastic = draw(setting, (30, 60, 30), SPACING, np.random.default_rng(0)).move.elastic
    assert elastic.shift_mm == pytest.approx((0.4 * 15, 0.4 * 30, 0.4 * 15))


def test_bending_stays_within_its_largest_shift():
    elastic = Elastic(shift_mm=(2, 3, 1), knots=(5, 5, 5), seed=4)
    params = AugmentParams(move=Move(elastic=elastic, spacing_mm=(1, 1, 1)))
    _, size = region(params, (0, 0, 0), PATCH)
    ramps = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij")).astype(np.float32)
    moved, _ = apply(ramps, np.zeros(size, np.uint8), params, PATCH)
    start, _ = region(params, (4, 5, 3), PATCH)
    straight = np.stack(np.meshgrid(*(np.arange(n) for n in PATCH), indexing="ij"))
    shift = moved + np.reshape(start, (3, 1, 1, 1)) - straight
    largest = np.abs(shift).max((1, 2, 3))
    assert (largest <= [2 + 1e-5, 3 + 1e-5, 1 + 1e-5]).all()
    assert (largest > [0.2, 0.3, 0.1]).all()


def test_without_a_move_the_region_is_the_patch():
    params = draw(spec(gamma_probability=1), PATCH, SPACING, np.random.default_rng(0))
    assert region(params, (20, 30, 40), PATCH) == ((16, 25, 37), PATCH)


def test_a_larger_scale_reads_more_of_the_case():
    sizes = [region(_scaled(s), (0, 0, 0), PATCH)[1] for s in (0.5, 1.0, 1.5)]
    assert sizes == [(6, 6, 4), (9, 11, 7), (12, 16, 10)]


def _scaled(scale):
    return AugmentParams(move=Move(scale=scale, spacing_mm=SPACING))


def test_a_box_of_another_size_is_refused():
    with pytest.raises(WrongInput, match=r"made from a box of \(8, 10, 6\) voxels"):
        apply(np.zeros((1, 8, 10, 7), np.float32), np.zeros(PATCH, int), AugmentParams(), PATCH)
    labels = np.zeros((8, 10, 5), int)
    with pytest.raises(WrongInput, match=r"labels \(8, 10, 5\)"):
        apply(np.zeros((1, *PATCH), np.float32), labels, AugmentParams(), PATCH)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_labels_keep_their_type(dtype):
    params = AugmentParams(move=Move(rotation_degrees=(10, 0, 0), spacing_mm=SPACING))
    _, size = region(params, (0, 0, 0), PATCH)
    _, labels = apply(np.zeros((1, *size), np.float32), np.full(size, 3, dtype), params, PATCH)
    assert labels.dtype == dtype
    assert (labels == 3).all()


def test_inputs_stay_as_they_are():
    generator = np.random.default_rng(0)
    image, labels = generator.normal(size=(1, *PATCH)).astype(np.float32), np.zeros(PATCH, np.uint8)
    kept = image.copy()
    out, out_labels = apply(image, labels, AugmentParams(gamma=(0.8,)), PATCH)
    out += 1
    out_labels += 1
    assert np.array_equal(image, kept)
    assert not labels.any()
