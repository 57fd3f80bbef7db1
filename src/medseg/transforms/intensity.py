"""What changes intensities and moves nothing: nnU-Net's formulas, each a pure function.

Images are float32, shape (C, I, J, K), normalised. Each function has one number a channel; a
channel whose number changes nothing stays as it is.

Source:
    Isensee et al., nnU-Net, Nature Methods 18, 2021, and its batchgeneratorsv2.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from medseg.transforms.warp import Float32, along_axes

Taps: TypeAlias = tuple[npt.NDArray[np.int64], Float32]

TINY = 1e-7
"""Least range and standard deviation that is divided by."""


def add_noise(image: Float32, deviation: float, seed: int) -> Float32:
    """Add normal noise of this standard deviation, drawn from the seed."""
    generator = np.random.Generator(np.random.SFC64(seed))
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return image + np.float32(deviation) * noise


def blur(image: Float32, sigmas: Sequence[Sequence[float]]) -> Float32:
    """Convolve with a Gaussian; standard deviations in voxels, for each channel and axis."""
    out = image.copy()
    for channel, sigma in enumerate(sigmas):
        if any(sigma):
            maps = [_gaussian_taps(n, s) for n, s in zip(image.shape[1:], sigma, strict=True)]
            out[channel] = _apply_taps(image[channel], maps)
    return out


def lower_resolution(image: Float32, zooms: Sequence[Sequence[float]]) -> Float32:
    """Keep every n-th voxel (nearest) and interpolate the others linearly.

    Args:
        image: Shape (C, I, J, K).
        zooms: Share of the voxels along each axis that is kept, for each channel.
    """
    out = image.copy()
    for channel, zoom in enumerate(zooms):
        if any(z != 1 for z in zoom):
            maps = [_zoom_taps(n, z) for n, z in zip(image.shape[1:], zoom, strict=True)]
            out[channel] = _apply_taps(image[channel], maps)
    return out


def scale_brightness(image: Float32, factors: Sequence[float]) -> Float32:
    """Multiply each channel by its factor."""
    return image * np.asarray(factors, dtype=np.float32)[:, None, None, None]


def scale_contrast(image: Float32, factors: Sequence[float]) -> Float32:
    """Spread each channel about its mean by its factor, within the range that it had."""
    out = np.empty_like(image)
    for channel, factor in enumerate(factors):
        old, new = image[channel], out[channel]
        mean = old.mean(dtype=np.float64)
        np.multiply(old, np.float32(factor), out=new)
        new += np.float32(mean * (1 - factor))
        np.clip(new, old.min(), old.max(), out=new)
    return out


def apply_gamma(image: Float32, exponents: Sequence[float], *, inverted: bool) -> Float32:
    """Raise each channel, scaled to 0..1, to its exponent; mean and deviation stay as they were.

    Args:
        image: Shape (C, I, J, K).
        exponents: One for each channel.
        inverted: Whether the negative of the image is changed, so that bright parts bend most.
    """
    out = np.empty_like(image)
    for channel, exponent in enumerate(exponents):
        old, new = image[channel], out[channel]
        low, high = float(old.min()), float(old.max())
        extent = max(high - low, TINY)
        if inverted:
            np.subtract(np.float32(high), old, out=new)
        else:
            np.subtract(old, np.float32(low), out=new)
        new *= np.float32(1 / extent)
        np.maximum(new, np.finfo(np.float32).tiny, out=new)
        np.log(new, out=new)
        new *= np.float32(exponent)
        np.exp(new, out=new)
        ratio = float(old.std(dtype=np.float64)) / max(float(new.std(dtype=np.float64)), TINY)
        ratio = -ratio if inverted else ratio
        shift = float(old.mean(dtype=np.float64)) - ratio * float(new.mean(dtype=np.float64))
        new *= np.float32(ratio)
        new += np.float32(shift)
    return out


def _apply_taps(channel: Float32, maps: Sequence[Taps]) -> Float32:
    """One linear map along each axis. A slice is turned so that the inner loop is a long one."""
    order = (2, 0, 1) if channel.shape[2] == 1 else (0, 1, 2)
    (tap_i, share_i), (tap_j, share_j), (tap_k, share_k) = (maps[axis] for axis in order)
    turned = np.ascontiguousarray(channel.transpose(order))
    out: Float32 = along_axes(turned, (tap_i, tap_j, tap_k), (share_i, share_j, share_k))
    return out.transpose(np.argsort(order))


def _gaussian_taps(size: int, sigma: float) -> Taps:
    """Neighbours up to 4 sigma and their weights; beyond the edge its own voxel counts."""
    reach = min(int(4 * sigma + 0.5), size - 1) if sigma > 0 else 0
    offsets = np.arange(-reach, reach + 1)
    shares = np.exp(-0.5 * (offsets / max(sigma, TINY)) ** 2)
    taps = np.clip(np.arange(size) + offsets[:, None], 0, size - 1)
    weights = np.repeat((shares / shares.sum()).astype(np.float32)[:, None], size, axis=1)
    return taps, weights


@lru_cache(maxsize=1024)
def _coarse_taps(size: int, kept: int) -> Taps:
    """The two kept voxels on either side of each voxel, and their linear weights."""
    nearest = ((np.arange(kept) + 0.5) * size / kept).astype(np.int64)
    position = np.clip((np.arange(size) + 0.5) * kept / size - 0.5, 0, kept - 1)
    below = position.astype(np.int64)
    above = np.minimum(below + 1, kept - 1)
    share = (position - below).astype(np.float32)
    return np.stack([nearest[below], nearest[above]]), np.stack([1 - share, share])


def _zoom_taps(size: int, zoom: float) -> Taps:
    return _coarse_taps(size, max(round(size * zoom), 1))
