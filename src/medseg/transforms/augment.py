"""Augmentation: first draw everything that is random, then apply it as a pure function.

The record of what was drawn goes into JSON and back, and gives the same sample again. Whatever
moves voxels (crop, rotation, scale, bending, mirrors) is one interpolation, and reads from the
case only the box that it needs; where nothing of it was drawn, the sample is a plain crop.
"""

import math
from functools import cached_property

import numpy as np
from pydantic import BaseModel, Field

from medseg.errors import WrongInput
from medseg.specs import FROZEN, AugmentSpec
from medseg.transforms import intensity
from medseg.transforms.warp import ORDER, Float32, Float64, spline_weights, warp_plane, warp_volume
from medseg.types import GridSize, IntArray, SpacingMm

FLAT_RATIO = 3
"""A patch this many times longer than it is deep moves in its plane only (nnU-Net's rule)."""

CHANNEL_SHARE = 0.5
"""Probability that blur and low resolution reach a channel, once they were drawn (nnU-Net's)."""

FOLD_LIMIT = 0.4
"""Largest shift in distances between knots: below it no B-spline bending folds.

Source: Choi and Lee, Signal Processing: Image Communication 15(9), 2000.
"""


class Elastic(BaseModel):
    """A smooth bending by cubic B-splines.

    Attributes:
        shift_mm: Largest shift along I, J, K.
        knots: Control points along I, J, K.
        seed: From which the shift of each knot is drawn.
    """

    model_config = FROZEN

    shift_mm: SpacingMm
    knots: GridSize
    seed: int = Field(ge=0)


class Move(BaseModel):
    """Rotation, scale and bending about the middle of the patch, in millimetres.

    Attributes:
        rotation_degrees: About I, J, K, applied in this order.
        scale: Above 1 the patch sees more of the case, and structures look smaller.
        elastic: The bending.
        spacing_mm: Distance between voxels.
        in_plane: Whether slices along K move alike, and never between each other.
    """

    model_config = FROZEN

    rotation_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = Field(default=1.0, gt=0)
    elastic: Elastic | None = None
    spacing_mm: SpacingMm
    in_plane: bool = False

    @cached_property
    def matrix(self) -> Float64:
        """Voxels of the patch to voxels of the case, both from the middle, shape (3, 3)."""
        rotation = np.eye(3)
        for axis, degrees in enumerate(self.rotation_degrees):
            rotation = _rotation(axis, degrees) @ rotation
        scale = np.diag([self.scale, self.scale, 1.0 if self.in_plane else self.scale])
        spacing = np.asarray(self.spacing_mm)
        matrix: Float64 = (rotation @ scale * spacing) / spacing[:, None]
        return matrix

    @property
    def shift_voxels(self) -> Float64:
        """Largest shift by bending along I, J, K."""
        shift_mm = self.elastic.shift_mm if self.elastic else (0.0, 0.0, 0.0)
        shift: Float64 = np.asarray(shift_mm) / np.asarray(self.spacing_mm)
        return shift


class Noise(BaseModel):
    """Normal noise.

    Attributes:
        deviation: Its standard deviation, in normalised intensities.
        seed: From which it is drawn.
    """

    model_config = FROZEN

    deviation: float = Field(ge=0)
    seed: int = Field(ge=0)


class AugmentParams(BaseModel):
    """Everything that was drawn for one sample; None is "not drawn". Applied from top to bottom.

    Attributes:
        move: Rotation, scale and bending.
        mirror: Which of I, J, K run backwards.
        noise: Added noise.
        blur: Standard deviations along I, J, K in voxels, for each channel.
        brightness: Factor of each channel.
        contrast: Factor of each channel.
        low_resolution: Share of the voxels kept along I, J, K, for each channel.
        gamma_inverted: Exponent of each channel, on the negative image.
        gamma: Exponent of each channel.
    """

    model_config = FROZEN

    move: Move | None = None
    mirror: tuple[bool, bool, bool] = (False, False, False)
    noise: Noise | None = None
    blur: tuple[tuple[float, float, float], ...] | None = None
    brightness: tuple[float, ...] | None = None
    contrast: tuple[float, ...] | None = None
    low_resolution: tuple[tuple[float, float, float], ...] | None = None
    gamma_inverted: tuple[float, ...] | None = None
    gamma: tuple[float, ...] | None = None


def draw(
    spec: AugmentSpec,
    patch_size: GridSize,
    spacing_mm: SpacingMm,
    generator: np.random.Generator,
    *,
    channels: int = 1,
) -> AugmentParams:
    """Draw what happens to one sample.

    Args:
        spec: Probabilities and ranges.
        patch_size: Voxels of the sample along I, J, K.
        spacing_mm: Distance between its voxels.
        generator: Gives all random numbers, and nothing else does.
        channels: Of the image.
    """
    dice = _Dice(spec, generator, channels)
    in_plane = max(patch_size) > FLAT_RATIO * patch_size[2]
    return AugmentParams(
        move=dice.move(patch_size, spacing_mm, in_plane=in_plane),
        mirror=dice.mirror(patch_size),
        noise=dice.noise(),
        blur=dice.blur(patch_size),
        brightness=dice.factors(spec.brightness_probability, spec.brightness_range),
        contrast=dice.factors(spec.contrast_probability, spec.contrast_range),
        low_resolution=dice.low_resolution(in_plane=in_plane),
        gamma_inverted=dice.factors(spec.gamma_inverted_probability, spec.gamma_range),
        gamma=dice.factors(spec.gamma_probability, spec.gamma_range),
    )


def region(
    params: AugmentParams, centre: tuple[int, int, int], patch_size: GridSize
) -> tuple[tuple[int, int, int], GridSize]:
    """The box of the case that a sample is made from.

    Args:
        params: What was drawn.
        centre: Voxel of the case that becomes voxel `patch_size // 2`.
        patch_size: Voxels of the sample.

    Returns:
        First voxel (may lie outside the case) and size. Without a move it is the patch itself.
    """
    start = [c - n // 2 for c, n in zip(centre, patch_size, strict=True)]
    size = list(patch_size)
    if params.move is not None:
        half = (np.asarray(patch_size) - 1) / 2
        reach = np.abs(params.move.matrix) @ half + params.move.shift_voxels
        for axis in range(2 if params.move.in_plane else 3):
            first = math.floor(start[axis] + half[axis] - reach[axis])
            last = math.floor(start[axis] + half[axis] + reach[axis]) + 1
            start[axis], size[axis] = first, last - first + 1
    return (start[0], start[1], start[2]), (size[0], size[1], size[2])


def apply(
    image: Float32, labels: IntArray, params: AugmentParams, patch_size: GridSize
) -> tuple[Float32, IntArray]:
    """Make one sample. The inputs stay as they are.

    Args:
        image: The box that `region` names, shape (C, *size).
        labels: Class indices of the same box.
        params: What was drawn.
        patch_size: Voxels of the sample.

    Returns:
        Image, shape (C, *patch_size), and class indices, shape `patch_size`.

    Raises:
        WrongInput: If image or labels are not of the size that `region` names.
    """
    image, labels = _placed(image, labels, params, patch_size)
    return _change_intensity(np.array(image, dtype=np.float32, order="C"), params), labels


def move_labels(labels: IntArray, params: AugmentParams, patch_size: GridSize) -> IntArray:
    """Move a label map as `apply` moves the labels of a sample, with the same arguments."""
    return _placed(np.empty((0, *labels.shape), np.float32), labels, params, patch_size)[1]


def _placed(
    image: Float32, labels: IntArray, params: AugmentParams, patch_size: GridSize
) -> tuple[Float32, IntArray]:
    """All that moves voxels."""
    start, size = region(params, (0, 0, 0), patch_size)
    if image.shape[1:] != size or labels.shape != size:
        raise WrongInput(
            f"This sample is made from a box of {size} voxels.",
            received=f"image {image.shape}, labels {labels.shape}",
            cure="Read the box that `region` names.",
        )
    if params.move is None:
        flips = tuple(slice(None, None, -1 if flip else 1) for flip in params.mirror)
        return image[(slice(None), *flips)], labels[flips].copy()
    middle = np.array([(n - 1) / 2 - n // 2 for n in patch_size]) - start
    signs = np.where(params.mirror, -1.0, 1.0)
    return _moved(image, labels, params.move, signs, middle, patch_size)


def _moved(
    image: Float32,
    labels: IntArray,
    move: Move,
    signs: Float64,
    middle: Float64,
    patch_size: GridSize,
) -> tuple[Float32, IntArray]:
    """The one interpolation; `signs` are -1 on mirrored axes, `middle` is a source position."""
    knots = _knot_shifts(move)
    i, j, k = (spline_weights(n, k) for n, k in zip(patch_size, knots.shape[1:], strict=True))
    out_image = np.empty((len(image), *patch_size), dtype=np.float32)
    out_labels = np.empty(patch_size, dtype=labels.dtype)
    warp = warp_plane if move.in_plane else warp_volume
    warp(
        np.ascontiguousarray(image, dtype=np.float32),
        np.ascontiguousarray(labels),
        move.matrix * signs,
        middle,
        knots,
        (i, j, k),
        out_image,
        out_labels,
    )
    return out_image, out_labels


def _knot_shifts(move: Move) -> Float32:
    """Shift of each knot in voxels, shape (3, a, b, c)."""
    if move.elastic is None:
        return np.zeros((3, 0, 0, 0), dtype=np.float32)
    generator = np.random.Generator(np.random.SFC64(move.elastic.seed))
    shares = generator.uniform(-1, 1, (3, *move.elastic.knots))
    return (shares * move.shift_voxels[:, None, None, None]).astype(np.float32)


def _change_intensity(image: Float32, params: AugmentParams) -> Float32:
    if params.noise is not None:
        image = intensity.add_noise(image, params.noise.deviation, params.noise.seed)
    if params.blur is not None:
        image = intensity.blur(image, params.blur)
    if params.brightness is not None:
        image = intensity.scale_brightness(image, params.brightness)
    if params.contrast is not None:
        image = intensity.scale_contrast(image, params.contrast)
    if params.low_resolution is not None:
        image = intensity.lower_resolution(image, params.low_resolution)
    if params.gamma_inverted is not None:
        image = intensity.apply_gamma(image, params.gamma_inverted, inverted=True)
    if params.gamma is not None:
        image = intensity.apply_gamma(image, params.gamma, inverted=False)
    return image


def _rotation(axis: int, degrees: float) -> Float64:
    """Rotation about one axis; right angles are exact."""
    cosine, sine = (round(f(math.radians(degrees)), 15) for f in (math.cos, math.sin))
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = cosine
    rotation[second, first], rotation[first, second] = sine, -sine
    return rotation


class _Dice:
    """Draws the parts of a sample, each from the same generator."""

    def __init__(self, spec: AugmentSpec, generator: np.random.Generator, channels: int) -> None:
        self.spec, self.generator, self.channels = spec, generator, channels

    def happens(self, probability: float) -> bool:
        return bool(self.generator.random() < probability)

    def between(self, low: float, high: float) -> float:
        return float(self.generator.uniform(low, high))

    def seed(self) -> int:
        return int(self.generator.integers(2**63))

    def move(self, patch_size: GridSize, spacing_mm: SpacingMm, *, in_plane: bool) -> Move | None:
        rotate = self.happens(self.spec.rotation_probability)
        rescale = self.happens(self.spec.scale_probability)
        bend = self.happens(self.spec.elastic_probability)
        if not (rotate or rescale or bend):
            return None
        degrees = [self.between(-d, d) if rotate else 0.0 for d in self.spec.rotation_degrees]
        if in_plane:
            degrees[:2] = 0.0, 0.0
        return Move(
            rotation_degrees=(degrees[0], degrees[1], degrees[2]),
            scale=self.between(*self.spec.scale_range) if rescale else 1.0,
            elastic=self.elastic(patch_size, spacing_mm, in_plane=in_plane) if bend else None,
            spacing_mm=spacing_mm,
            in_plane=in_plane,
        )

    def elastic(self, patch_size: GridSize, spacing_mm: SpacingMm, *, in_plane: bool) -> Elastic:
        knots = max(self.spec.elastic_knots, ORDER + 1)
        shifts = [
            min(self.spec.elastic_shift_mm, FOLD_LIMIT * size * spacing / (knots - ORDER))
            for size, spacing in zip(patch_size, spacing_mm, strict=True)
        ]
        return Elastic(
            shift_mm=(shifts[0], shifts[1], 0.0 if in_plane else shifts[2]),
            knots=(knots, knots, 1 if in_plane else knots),
            seed=self.seed(),
        )

    def mirror(self, patch_size: GridSize) -> tuple[bool, bool, bool]:
        flips = [self.happens(0.5) and axis in self.spec.mirror.axes for axis in range(3)]
        return flips[0], flips[1], flips[2]

    def noise(self) -> Noise | None:
        """nnU-Net calls the range a variance and uses it as a standard deviation; so is it here."""
        if not self.happens(self.spec.noise_probability):
            return None
        return Noise(deviation=self.between(*self.spec.noise_variance), seed=self.seed())

    def blur(self, patch_size: GridSize) -> tuple[tuple[float, float, float], ...] | None:
        if not self.happens(self.spec.blur_probability):
            return None
        sigmas = []
        for _ in range(self.channels):
            reached = self.happens(CHANNEL_SHARE)
            i, j, k = (
                self.between(*self.spec.blur_sigma) if reached and size > 1 else 0.0
                for size in patch_size
            )
            sigmas.append((i, j, k))
        return tuple(sigmas) if any(map(any, sigmas)) else None

    def low_resolution(self, *, in_plane: bool) -> tuple[tuple[float, float, float], ...] | None:
        if not self.happens(self.spec.low_resolution_probability):
            return None
        zooms = []
        for _ in range(self.channels):
            reached = self.happens(CHANNEL_SHARE)
            zoom = self.between(*self.spec.low_resolution_zoom) if reached else 1.0
            zooms.append((zoom, zoom, 1.0 if in_plane else zoom))
        return tuple(zooms) if any(zoom[0] != 1 for zoom in zooms) else None

    def factors(self, probability: float, limits: tuple[float, float]) -> tuple[float, ...] | None:
        """One factor for each channel, below and above 1 equally often (nnU-Net's way)."""
        if not self.happens(probability):
            return None
        low, high = limits
        return tuple(
            self.between(low, 1)
            if self.happens(0.5) and low < 1
            else self.between(max(low, 1), high)
            for _ in range(self.channels)
        )
