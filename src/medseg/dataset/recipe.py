"""How weights are found and samples varied, by how many steps there will be.

The constants come from measurements on the hippocampus data set and stand here to be changed.
"""

from typing import Literal

from medseg.dataset.effort import Effort
from medseg.specs import AugmentSpec, LossSpec, MirrorSpec, RecipeSpec
from medseg.types import GridSize, SpacingMm

STEPS_FOR_SGD = 100_000
"""Steps from which on nnU-Net's own recipe (SGD, polynomial decay) is used; it needs many."""

PASSES_FOR_FULL_AUGMENTATION = 200
"""From so many views of each case on, nnU-Net's strong augmentation pays; before, a milder one."""

STEPS_FOR_STRONG_AUGMENTATION, PASSES_FOR_STRONG_AUGMENTATION = 1500, 20
"""From so many steps and views of each case on, strong augmentation pays. Measured on one fold of
36 hippocampus cases: at 750 steps it is 0.0015 of Dice behind a middle setting (rotations of 20
degrees, shifts of 3 voxels), level with it at 1,500, and 0.002 to 0.004 ahead at 3,000."""

ELASTIC_SHIFT_VOXELS, STRONG_ELASTIC_SHIFT_VOXELS = 2.0, 4.0
"""Largest shift at the knots of an elastic deformation, mild and strong."""

DUMMY_2D_RATIO = 3.0
"""A patch this much longer in the slice than across slices is rotated within slices only."""


def recipe(steps: int, batch_size: int) -> tuple[RecipeSpec, str]:
    """How the weights are found in so many steps, and why so."""
    if steps >= STEPS_FOR_SGD:
        spec = RecipeSpec(
            optimizer="sgd",
            learning_rate=1e-2,
            warmup_share=0.0,
            schedule="polynomial",
            weight_decay=3e-5,
            ema_decay=0.0,
            batch_size=batch_size,
        )
        return spec, f"There is time for {steps:,} steps: nnU-Net's own recipe."
    # The average covers the last tenth of the training.
    decay = min(0.9998, max(0.98, 1 - 10 / max(steps, 1)))
    spec = RecipeSpec(ema_decay=round(decay, 5), batch_size=batch_size)
    return spec, (
        f"In {steps:,} steps {spec.optimizer} learns more than nnU-Net's SGD, which needs "
        f"{STEPS_FOR_SGD:,}; averaged weights take the place of its long tail."
    )


def augmentation(
    effort: Effort,
    patch_size: GridSize,
    spacing_mm: SpacingMm,
    *,
    orientation: str,
    sides_differ: bool,
) -> tuple[AugmentSpec, str]:
    """How samples are varied, and why so.

    Args:
        effort: How often each case will be seen.
        patch_size: Voxels along I, J, K.
        spacing_mm: Along I, J, K.
        orientation: Letters of I, J, K.
        sides_differ: Whether labels tell left from right: then no mirror may swap them.
    """
    in_slice = max(patch_size[:2]) / patch_size[2] > DUMMY_2D_RATIO
    side = next(n for n, letter in enumerate(orientation) if letter in "RL")
    is_2d = patch_size[2] == 1
    if effort.passes >= PASSES_FOR_FULL_AUGMENTATION:
        axes = {0, 1} if is_2d else {0, 1, 2}
        turn = (0.0, 0.0, 180.0) if in_slice else (30.0, 30.0, 30.0)
        spec = AugmentSpec(rotation_degrees=turn)
        why = f"Each case is seen {effort.views}: nnU-Net's augmentation."
    else:
        axes = {0, 1} if is_2d else {side}
        turn = (0.0, 0.0, 180.0) if is_2d else (0.0, 0.0, 15.0) if in_slice else (15.0, 15.0, 15.0)
        spec = _mild(turn, min(spacing_mm))
        why = (
            f"Each case is seen {effort.passes:,.0f} times only: mild changes of shape and "
            "brightness, which are cheap to learn from."
        )
        if (
            effort.steps >= STEPS_FOR_STRONG_AUGMENTATION
            and effort.passes >= PASSES_FOR_STRONG_AUGMENTATION
        ):
            spec = _strong(turn, min(spacing_mm))
            why = (
                f"Each case is seen {effort.passes:,.0f} times: large changes of shape keep the "
                "network from learning cases by heart."
            )
    if sides_differ:
        axes.discard(side)
        why += " Labels tell left from right, so these are not mirrored."
    kept = tuple(axis for axis in (0, 1, 2) if axis in axes)
    return spec.model_copy(update={"mirror": MirrorSpec(axes=kept)}), why


def _mild(turn: tuple[float, float, float], spacing_mm: float) -> AugmentSpec:
    """Small changes of shape and brightness; `turn` is in degrees."""
    return AugmentSpec(
        rotation_probability=0.5,
        rotation_degrees=turn,
        scale_probability=0.5,
        scale_range=(0.85, 1.2),
        elastic_probability=0.4,
        elastic_shift_mm=ELASTIC_SHIFT_VOXELS * spacing_mm,
        blur_probability=0.0,
        low_resolution_probability=0.0,
        contrast_probability=0.0,
    )


def _strong(turn: tuple[float, float, float], spacing_mm: float) -> AugmentSpec:
    """nnU-Net's ranges, drawn more often, and bending, which it has not; `turn` as for `_mild`."""
    turns = [min(180.0, 2 * angle) for angle in turn]
    return AugmentSpec(
        rotation_probability=0.6,
        rotation_degrees=(turns[0], turns[1], turns[2]),
        scale_probability=0.6,
        elastic_probability=0.5,
        elastic_shift_mm=STRONG_ELASTIC_SHIFT_VOXELS * spacing_mm,
        noise_probability=0.3,
        noise_variance=(0.0, 0.3),
        gamma_probability=0.4,
    )


def loss(
    patch_voxels: int,
    grid_voxels: int,
    *,
    is_2d: bool,
    kind: Literal["dice_ce", "dice_bce"] = "dice_ce",
) -> tuple[LossSpec, str]:
    """What training makes small, and why so."""
    if is_2d or patch_voxels < grid_voxels / 4:
        why = "Patches show a part of a case, often without a structure: Dice counts the batch."
        return LossSpec(kind=kind, batch_dice=True), why
    why = "Patches show most of a case: Dice counts each sample."
    return LossSpec(kind=kind, batch_dice=False), why
