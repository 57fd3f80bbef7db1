"""From one grid to another: images by interpolation, labels by a vote.

The way every volume takes in medseg. The target's size, origin and direction all count; nothing is
cropped that the target holds. Grids whose axes agree, in any order and direction, are resampled
line by line; any other grid voxel by voxel, with the same result.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from medseg.errors import InvalidGeometry
from medseg.space.grids import FINE_STEP, Mapping, grid_at_spacing
from medseg.space.image_kernels import (
    blend_aligned,
    cubic_rotated,
    filter_first_axis,
    linear_aligned,
    linear_rotated,
    nearest_rotated,
)
from medseg.space.taps import Interpolation, Taps, filtering, interpolating, smoothing
from medseg.space.votes import elect
from medseg.types import AnyArray, FloatArray
from medseg.volume.geometry import Geometry
from medseg.volume.volume import LabelMap, Volume

__all__ = [
    "Interpolation",
    "grid_at_spacing",
    "resample_array",
    "resample_labels",
    "resample_volume",
]


def resample_volume(
    volume: Volume,
    target: Geometry,
    *,
    interpolation: Interpolation = "linear",
    outside: float | None = None,
    anti_alias: bool = True,
) -> Volume:
    """Put an image on another grid.

    Args:
        volume: The image, of any number type.
        target: The grid to fill.
        interpolation: "linear"; "cubic", a B-spline through all voxels, which can overshoot; or
            "nearest", which makes no new values.
        outside: Value beyond the outer faces of the image; None for each channel's smallest.
            Between these faces and the outermost voxel centres the value of the centres stays.
        anti_alias: Whether to smooth axes along which voxels become longer, by a Gaussian that
            widens the voxel's point spread to the new length (`taps.smoothing`); not for "nearest".

    Returns:
        A float32 volume on `target` with the names and source of `volume`; it shares the voxels of
        `volume` if nothing had to change.
    """
    array = resample_array(
        np.asarray(volume.array, dtype=np.float32),
        volume.geometry,
        target,
        interpolation=interpolation,
        outside=outside,
        anti_alias=anti_alias,
    )
    return Volume(array, target, volume.channel_names, volume.source)


def resample_labels(label_map: LabelMap, target: Geometry) -> LabelMap:
    """Put a label map on another grid, by a trilinear vote of the eight nearest voxels.

    The label with the largest total of trilinear weights wins, as if each label's mask were
    interpolated on its own, and no value is invented. Of equals the label that lies further to
    the right, then anterior, then superior wins: a rule that favours no label, whichever way the
    axes run. Labels are not smoothed before shrinking.

    Args:
        label_map: The label map.
        target: The grid to fill; 0, background, beyond the outer faces of the label map.

    Returns:
        A label map on `target`, of the same integer type.
    """
    if target.same_space(label_map.geometry):
        return LabelMap(label_map.array, target, label_map.labels, label_map.source)
    kind = np.uint8 if all(label.value < 256 for label in label_map.labels) else np.uint16
    array = label_map.array.astype(kind, copy=False)
    first, geometry = _in_memory_order(array, label_map.geometry)
    out = elect(first, first[None], None, Mapping(geometry, target))
    return LabelMap(
        out.astype(label_map.array.dtype, copy=False), target, label_map.labels, label_map.source
    )


def resample_array(
    array: FloatArray,
    source: Geometry,
    target: Geometry,
    *,
    interpolation: Interpolation,
    outside: float | None = None,
    anti_alias: bool = True,
) -> FloatArray:
    """The core of `resample_volume`: the same on bare arrays.

    Args:
        array: Channels on the grid `source`, float32, shape (C, I, J, K), in any memory order.
        source: Where the grid of `array` lies.
        target: The grid to fill.
        interpolation: As in `resample_volume`.
        outside: As in `resample_volume`.
        anti_alias: As in `resample_volume`.

    Returns:
        Float32, shape (C, I, J, K) of `target`; `array` itself if both grids are the same.

    Raises:
        InvalidGeometry: If the array is not float32 or does not have the shape of its grid.
        ValueError: If there is no interpolation of this name.
    """
    if array.dtype != np.float32 or array.ndim != 4 or array.shape[1:] != source.grid_size:
        raise InvalidGeometry(
            "Resampling takes float32 channels of shape (C, I, J, K).",
            received=f"{array.dtype} {array.shape}, grid {source.grid_size}",
        )
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"An interpolation is linear, cubic or nearest, not {interpolation!r}.")
    if target.same_space(source):
        return array
    channels, turned = _in_memory_order(array, source)
    mapping = Mapping(turned, target)
    sigmas = [
        smoothing(x) if anti_alias and interpolation != "nearest" else 0.0 for x in mapping.shrink
    ]
    on_target = _aligned if mapping.is_aligned else _rotated
    return on_target(channels, mapping, interpolation, sigmas, outside)


def _aligned(
    channels: FloatArray,
    mapping: Mapping,
    interpolation: Interpolation,
    sigmas: Sequence[float],
    outside: float | None,
) -> FloatArray:
    """Line by line along each axis."""
    taps = [
        interpolating(
            mapping.positions(axis, FINE_STEP),
            mapping.source.grid_size[axis],
            interpolation,
            upwards=mapping.upwards[axis],
            sigma=sigmas[axis],
        )
        for axis in range(3)
    ]
    inside = [mapping.inside(axis) for axis in range(3)]
    out = np.empty((len(channels), *mapping.aligned_size), np.float32)
    for channel, result in zip(channels, out, strict=True):
        _blend(channel, taps, result)
        if not all(part.all() for part in inside):
            fill = channel.min() if outside is None else outside
            for axis, part in enumerate(inside):
                np.moveaxis(result, axis, 0)[~part] = fill
    return out.transpose(0, *(axis + 1 for axis in np.argsort(mapping.partners)))


def _rotated(
    channels: FloatArray,
    mapping: Mapping,
    interpolation: Interpolation,
    sigmas: Sequence[float],
    outside: float | None,
) -> FloatArray:
    """Voxel by voxel, after smoothing and filtering line by line on the source's grid."""
    cubic = interpolation == "cubic"
    taps = [
        filtering(size, cubic=cubic, sigma=sigma)
        for size, sigma in zip(mapping.source.grid_size, sigmas, strict=True)
    ]
    out = np.empty((len(channels), *mapping.target.grid_size), np.float32)
    for channel, result in zip(channels, out, strict=True):
        fill = np.float32(channel.min() if outside is None else outside)
        prepared = channel
        if cubic or any(sigmas):
            prepared = np.empty_like(channel)
            _blend(channel, taps, prepared)
        if interpolation == "nearest":
            nearest_rotated(prepared, mapping.matrix, FINE_STEP, mapping.upwards, fill, result)
        elif cubic:
            cubic_rotated(prepared, mapping.matrix, FINE_STEP, fill, result)
        else:
            linear_rotated(prepared, mapping.matrix, FINE_STEP, fill, result)
    return out


def _blend(channel: FloatArray, taps: Sequence[Taps], out: FloatArray) -> None:
    """Fill `out` by the taps of each axis."""
    if not any(axis.spline or axis.voxel.shape[1] > 2 for axis in taps):
        taps = [axis.as_pairs() for axis in taps]
    index, weight, spline = zip(*taps, strict=True)
    if spline[0]:
        coefficients = np.empty_like(channel)
        flat = (len(channel), -1)
        filter_first_axis(channel.reshape(flat), coefficients.reshape(flat))
        channel = coefficients
    if all(table.shape[1] == 2 for table in index) and not any(spline):
        linear_aligned(channel, index, weight, out)
    else:
        blend_aligned(channel, index, weight, spline[1:], out)


def _in_memory_order(array: AnyArray, geometry: Geometry) -> tuple[AnyArray, Geometry]:
    """The same voxels with the axes (..., I, J, K) in the order in which they lie in memory.

    Read-only voxels are copied: numba would compile everything once more for them.
    """
    i, j, k = (
        int(axis) for axis in np.argsort([-abs(n) for n in array.strides[-3:]], kind="stable")
    )
    leading = array.ndim - 3
    turned = array.transpose(*range(leading), i + leading, j + leading, k + leading)
    return np.require(turned, requirements=["C", "W"]), geometry.reordered(
        (i, j, k), (False, False, False)
    )
