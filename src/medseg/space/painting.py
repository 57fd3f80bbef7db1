"""Regions that may overlap become one label map: painted one over the other on another grid."""

from collections.abc import Sequence

import numpy as np

from medseg.space.resample import resample_array
from medseg.space.votes import TopClasses
from medseg.types import FloatArray, IntArray
from medseg.volume.geometry import Geometry

INSIDE = 0.5
"""A voxel belongs to a region whose interpolated probability is larger."""


def paint(tops: Sequence[TopClasses], target: Geometry, values: Sequence[int]) -> IntArray:
    """Paint region after region wherever its trilinearly interpolated probability exceeds a half.

    One region is interpolated at a time, so memory does not grow with their number.

    Args:
        tops: Probabilities of the regions, of each opinion on its own grid; their mean counts.
            Region n is number n of the slots.
        target: Any grid. An equal one takes the probabilities as they are.
        values: What each region is painted as, in the order of painting: later ones cover earlier
            ones.

    Returns:
        Painted values in the smallest unsigned type, shape (I, J, K) of `target`; 0 where no region
        is, and outside.

    Source:
        nnU-Net v2, `regions_class_order`.
    """
    out: IntArray = np.zeros(target.grid_size, np.min_scalar_type(max(values)))
    for number, value in enumerate(values):
        total: FloatArray | None = None
        for top in tops:
            weights = weights_of(top, number)
            if weights.any():
                weights = _on(weights, top.geometry, target)
                total = weights if total is None else total + weights
        if total is not None:
            out[total > INSIDE * len(tops)] = value
    return out


def _on(weights: FloatArray, source: Geometry, target: Geometry) -> FloatArray:
    """Weights on another grid, 0 outside of their own."""
    if target.same_space(source):
        return weights
    moved: FloatArray = resample_array(
        weights[np.newaxis],
        source,
        target,
        interpolation="linear",
        outside=0.0,
        anti_alias=False,
    )[0]
    return moved


def weights_of(top: TopClasses, number: int) -> FloatArray:
    """The weight of one class or region in each voxel, float32, shape (I, J, K)."""
    weights: FloatArray = np.zeros(top.geometry.grid_size, np.float32)
    for classes, slot in zip(top.classes, top.weights, strict=True):
        np.add(weights, slot, out=weights, where=classes == number)
    return weights
