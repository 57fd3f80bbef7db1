"""Slices that are missing inside a series, interpolated between their neighbours."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medseg.types import AnyArray


def fill_gaps(array: AnyArray, planes: Sequence[int]) -> AnyArray:
    """Put slices on their planes and fill those between them.

    Args:
        array: Slices that are there, shape (I, J, S).
        planes: The plane of each, ascending from 0.

    Returns:
        All planes, shape (I, J, K) and of the same type: `array` itself without gaps. A missing
        plane is the linear mean of the two slices beside the gap, rounded for integers.
    """
    count = planes[-1] + 1
    if count == len(planes):
        return array
    filled = np.empty((count, *array.shape[1::-1]), dtype=array.dtype).transpose(2, 1, 0)
    filled[:, :, list(planes)] = array
    for n, (before, after) in enumerate(pairwise(planes)):
        low, high = array[:, :, n].astype(np.float64), array[:, :, n + 1].astype(np.float64)
        for k in range(before + 1, after):
            share = (k - before) / (after - before)
            mean = low + (high - low) * share
            filled[:, :, k] = np.rint(mean) if array.dtype.kind in "iu" else mean
    return filled
