"""Optimiser, augmentation and loss."""

import pytest

from medseg.dataset.effort import Effort
from medseg.dataset.recipe import augmentation, loss, recipe
from medseg.specs import AugmentSpec

MANY, FEW = Effort(steps=200_000, passes=5000), Effort(steps=1400, passes=19)


def varied(effort=MANY, patch_size=(64, 64, 64), orientation="RAS", *, sides_differ=False):
    return augmentation(
        effort, patch_size, (1, 1, 1), orientation=orientation, sides_differ=sides_differ
    )[0]


def test_long_trainings_use_nnunets_recipe():
    spec, why = recipe(250_000, 9)
    assert (spec.optimizer, spec.learning_rate, spec.schedule) == ("sgd", 1e-2, "polynomial")
    assert (spec.weight_decay, spec.ema_decay, spec.batch_size) == (3e-5, 0, 9)
    assert "250,000 steps" in why


@pytest.mark.parametrize(("steps", "decay"), [(10, 0.98), (2000, 0.995), (90_000, 0.9998)])
def test_short_trainings_average_over_their_last_tenth(steps, decay):
    spec, why = recipe(steps, 2)
    assert spec.schedule == "cosine"
    assert spec.ema_decay == pytest.approx(decay, abs=1e-4)
    assert spec.optimizer in why


def test_mirrors_of_long_trainings_are_nnunets():
    assert varied().mirror.axes == (0, 1, 2)
    assert varied(patch_size=(64, 64, 1)).mirror.axes == (0, 1)


def test_short_trainings_mirror_left_to_right_only():
    assert varied(FEW).mirror.axes == (0,)
    assert varied(FEW, orientation="ASR").mirror.axes == (2,)


@pytest.mark.parametrize("effort", [MANY, FEW])
@pytest.mark.parametrize(("orientation", "side"), [("RAS", 0), ("ASR", 2), ("ARS", 1)])
def test_labels_that_tell_sides_apart_are_not_mirrored_there(effort, orientation, side):
    assert side not in varied(effort, orientation=orientation, sides_differ=True).mirror.axes


def test_thick_slices_are_turned_in_their_plane_only():
    assert varied(patch_size=(256, 224, 20)).rotation_degrees == (0, 0, 180)
    assert varied(FEW, patch_size=(256, 224, 20)).rotation_degrees[:2] == (0, 0)
    assert varied(FEW).rotation_degrees == (15, 15, 15)


def test_dice_counts_the_batch_where_a_patch_is_a_part():
    assert not loss(40 * 56 * 40, 35 * 50 * 36, is_2d=False)[0].batch_dice
    assert loss(128**3, 512 * 512 * 432, is_2d=False)[0].batch_dice
    assert loss(1, 1, is_2d=True)[0].batch_dice


def test_many_steps_learn_from_strong_changes() -> None:
    def spec_at(steps: int, passes: float) -> AugmentSpec:
        effort = Effort(steps=steps, passes=passes)
        return augmentation(
            effort, (40, 56, 40), (1.0, 1.0, 1.0), orientation="RAS", sides_differ=False
        )[0]

    mild, strong = spec_at(1000, 90), spec_at(5000, 90)
    assert spec_at(5000, 19) == mild
    assert strong.rotation_degrees[0] > mild.rotation_degrees[0]
    assert strong.elastic_shift_mm > mild.elastic_shift_mm
    assert strong.blur_probability > mild.blur_probability
    assert strong.mirror == mild.mirror
