"""Images made worse on purpose, as scanners, protocols and patients do it.

For calibrating and for testing. Each is drawn by a seed and its strength, and leaves the truth
where it is: only `thick_slices` changes the grid, and then the reference goes with it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from medseg.space.resample import grid_at_spacing, resample_labels, resample_volume
from medseg.types import FloatArray
from medseg.volume.volume import LabelMap, Volume

Pair = tuple[Volume, LabelMap | None]
"""An image and its reference, if there is one."""

Corruption = Callable[[Volume, LabelMap | None, np.random.Generator, float], Pair]
"""Image, reference, generator and strength (0 is nothing, 1 much) -> the same, worse."""


def noise(
    volume: Volume, label_map: LabelMap | None, rng: np.random.Generator, strength: float
) -> Pair:
    """Gaussian noise of `strength` deviations of the image."""
    return _changed(volume, lambda x: x + rng.normal(0, strength * _spread(x), x.shape)), label_map


def gamma(
    volume: Volume, label_map: LabelMap | None, rng: np.random.Generator, strength: float
) -> Pair:
    """Intensities, from smallest to largest, to the power of 3 or 1/3 at strength 1."""
    power = np.exp(np.log(3) * strength * rng.choice((-1, 1)))
    return _changed(volume, lambda x: _powered(x, float(power))), label_map


def bias_field(
    volume: Volume, label_map: LabelMap | None, rng: np.random.Generator, strength: float
) -> Pair:
    """A smooth gain over the image: a product of ramps and a bowl, from 1/3 to 3 at strength 1."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in volume.geometry.grid_size), indexing="ij")
    slope, bowl = rng.normal(size=3), rng.normal(size=3)
    field = sum(a * x + b * (x**2 - 1 / 3) for a, b, x in zip(slope, bowl, grid, strict=True))
    gain = np.exp(np.log(3) * strength * field / np.abs(field).max())
    return _changed(volume, lambda x: (x - x.min()) * gain + x.min()), label_map


def blur(
    volume: Volume, label_map: LabelMap | None, rng: np.random.Generator, strength: float
) -> Pair:
    """Gaussian blur, two voxels wide at strength 1."""
    return _changed(volume, lambda x: ndimage.gaussian_filter(x, 2 * strength)), label_map


def ghosts(
    volume: Volume, label_map: LabelMap | None, rng: np.random.Generator, strength: float
) -> Pair:
    """Motion in MR: shifted copies of the image along one axis, half of it at strength 1."""
    axis = int(rng.integers(2))
    shift = int(rng.integers(2, max(3, volume.geometry.grid_size[axis] // 3)))
    weight = 0.5 * strength
    return _changed(
        volume,
        lambda x: (
            (1 - weight) * x + weight * (np.roll(x, shift, axis) + np.roll(x, -shift, axis)) / 2
        ),
    ), label_map


def thick_slices(
    volume: Volume, label_map: LabelMap | None, rng: np.random.Generator, strength: float
) -> Pair:
    """Slices four times as thick at strength 1: neighbours averaged, and fewer of them.

    Two are always left of more than that, since a single slice is no volume any more.
    """
    spacing, slices = volume.geometry.spacing_mm, volume.geometry.grid_size[2]
    times = min(1 + 3 * strength, max(1.0, slices / 2))
    thick = (spacing[0], spacing[1], spacing[2] * times)
    target = grid_at_spacing(volume.geometry, thick)
    worse = resample_volume(volume, target, interpolation="linear")
    return worse, None if label_map is None else resample_labels(label_map, target)


CORRUPTIONS: dict[str, Corruption] = {
    "noise": noise,
    "gamma": gamma,
    "bias field": bias_field,
    "blur": blur,
    "ghosts": ghosts,
    "thick slices": thick_slices,
}


def corrupted(
    volume: Volume, label_map: LabelMap | None, kind: str, *, strength: float, seed: int
) -> Pair:
    """A worse copy of a case.

    Args:
        volume: The image.
        label_map: Its reference, if there is one.
        kind: A key of `CORRUPTIONS`.
        strength: 0 is nothing, 1 much; more is possible.
        seed: The same seed gives the same copy.
    """
    return CORRUPTIONS[kind](volume, label_map, np.random.default_rng(seed), strength)


def mirrored(volume: Volume, axis: int = 0) -> Volume:
    """The image the wrong way round on an unchanged grid, as a wrong header makes it."""
    return replace(volume, array=np.ascontiguousarray(np.flip(volume.array, axis + 1)))


def powered(volume: Volume, power: float) -> Volume:
    """Intensities between the smallest and the largest of each channel raised to a power."""
    return _changed(volume, lambda x: _powered(x, power))


def _changed(volume: Volume, change: Callable[[FloatArray], FloatArray]) -> Volume:
    array = np.stack([change(channel.astype(np.float64)) for channel in volume.array])
    return replace(volume, array=array.astype(np.float32))


def _powered(x: FloatArray, power: float) -> FloatArray:
    low, high = float(x.min()), float(x.max())
    width = max(high - low, 1e-12)
    return np.asarray(((x - low) / width) ** power * width + low)


def _spread(x: FloatArray) -> float:
    return max(float(x.std()), 1e-12)
