"""Settings of training and prediction: loss, window, budget, augmentation, recipe."""

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from medseg.specs.base import FROZEN


class LossSpec(BaseModel):
    """Soft Dice plus cross-entropy, the sum over resolutions weighted by halves.

    Attributes:
        kind: "dice_ce" for classes that exclude each other; "dice_bce" for regions that may
            overlap, each with a cross-entropy of its own.
        dice_weight: Weight of the soft Dice term.
        cross_entropy_weight: Weight of the cross-entropy term.
        batch_dice: Whether Dice counts voxels over the whole batch and not each sample.
    """

    model_config = FROZEN

    kind: Literal["dice_ce", "dice_bce"] = "dice_ce"
    dice_weight: float = Field(default=1.0, ge=0)
    cross_entropy_weight: float = Field(default=1.0, ge=0)
    batch_dice: bool = False


class WindowSpec(BaseModel):
    """How a volume is covered by patches at prediction.

    Attributes:
        patch_size: Voxels of a window along I, J, K (K = 1 for a 2D network).
        overlap: Share of a window that the next one covers again.
        sigma_share: Standard deviation of the Gaussian weight, as a share of the window.
        peak: Where the weight is largest: in the middle of the window, or as in nnU-Net at the
            voxel whose index is half the size, which lies half a voxel further if that is even.
    """

    model_config = FROZEN

    patch_size: tuple[int, int, int]
    overlap: float = Field(default=0.5, ge=0, lt=1)
    sigma_share: float = Field(default=0.125, gt=0)
    peak: Literal["middle", "voxel"] = Field(
        default="middle", exclude_if=lambda one: one == "middle"
    )


Preset = Literal["m", "l", "xl"]
"""nnU-Net's sizes of the residual encoder, by the memory of the card that they are planned for."""


class Budget(BaseModel):
    """What may be spent.

    Attributes:
        seconds: Wall time of the whole training command; None when `epochs` counts.
        epochs: Passes over the training cases; None when `seconds` counts.
        memory_bytes: Memory that one training step may take.
        device: Where it trains.
        cores: Processor cores.
        gflops: Measured or assumed speed of convolutions of that device, in GFLOP/s.
        preset: Size of card to plan for, whatever else the machine has; None is nnU-Net's default.
    """

    model_config = FROZEN

    seconds: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, ge=1)
    memory_bytes: int = Field(gt=0)
    device: Literal["cpu", "cuda"] = "cpu"
    cores: int = Field(default=1, ge=1)
    gflops: float = Field(gt=0)
    preset: Preset | None = None


class MirrorSpec(BaseModel):
    """Axes along which a mirrored image is as likely as the image itself: 0, 1, 2 for I, J, K."""

    model_config = FROZEN

    axes: tuple[Literal[0, 1, 2], ...] = ()


class AugmentSpec(BaseModel):
    """Probabilities and ranges of nnU-Net's default augmentation, drawn for each sample.

    Source: Isensee et al. 2021, supplementary note 4; ranges as in nnU-Net v2's default trainer.
    """

    model_config = FROZEN

    rotation_probability: float = 0.2
    rotation_degrees: tuple[float, float, float] = (30.0, 30.0, 30.0)
    scale_probability: float = 0.2
    scale_range: tuple[float, float] = (0.7, 1.4)
    elastic_probability: float = 0.0
    elastic_shift_mm: float = 0.0
    elastic_knots: int = 5
    noise_probability: float = 0.1
    noise_variance: tuple[float, float] = (0.0, 0.1)
    blur_probability: float = 0.2
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness_probability: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast_probability: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution_probability: float = 0.25
    low_resolution_zoom: tuple[float, float] = (0.5, 1.0)
    gamma_probability: float = 0.3
    gamma_inverted_probability: float = 0.1
    gamma_range: tuple[float, float] = (0.7, 1.5)
    mirror: MirrorSpec = MirrorSpec(axes=(0, 1, 2))


class MaskAugmentSpec(BaseModel):
    """How the mask of a cascade's first stage is varied before the second stage sees it.

    Attributes:
        operator_probability: Of a sample in which each structure is dilated, eroded, opened or
            closed.
        operator_radius_voxels: Smallest and largest radius of the ball.
        removal_probability: Of a sample in which each structure loses one connected part.
        removal_share: A part that covers this share of the patch, or more, stays.

    Source: nnU-Net v2's default trainer. It could fill a removed part with another structure, with
    a probability that it sets to 0; here nothing fills it.
    """

    model_config = FROZEN

    operator_probability: float = Field(default=0.4, ge=0, le=1)
    operator_radius_voxels: tuple[int, int] = (1, 8)
    removal_probability: float = Field(default=0.2, ge=0, le=1)
    removal_share: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "MaskAugmentSpec":
        smallest, largest = self.operator_radius_voxels
        if not 1 <= smallest <= largest:
            raise ValueError("radii are at least 1, the smallest first")
        return self


class RecipeSpec(BaseModel):
    """How the weights are found.

    Attributes:
        optimizer: "muon" (orthogonalised momentum for convolutions, AdamW for the rest), "adamw",
            or "sgd" (Nesterov momentum 0.99, nnU-Net's).
        learning_rate: At the end of the warm-up; for "muon" that of its AdamW part.
        muon_learning_rate: Of the convolutions, for "muon".
        warmup_share: Share of the budget in which the rate rises from 0.
        schedule: How the rate falls to 0 at the end of the budget.
        weight_decay: Decoupled for adamw, L2 for sgd.
        gradient_clip: Largest norm of the gradient.
        ema_decay: Decay per step of the averaged weights that are kept; 0 keeps the last ones.
        batch_size: Patches a step, up to 4096.
        foreground_share: Share of patches that are centred on a structure.
    """

    model_config = FROZEN

    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    learning_rate: float = Field(default=2e-3, gt=0)
    muon_learning_rate: float = Field(default=0.02, gt=0)
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    schedule: Literal["cosine", "polynomial"] = "cosine"
    weight_decay: float = Field(default=1e-2, ge=0)
    gradient_clip: float = Field(default=12.0, gt=0)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    batch_size: int = Field(default=2, ge=1, le=4096)
    foreground_share: float = Field(default=0.33, ge=0, le=1)
