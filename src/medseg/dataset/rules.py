"""nnU-Net's published rules for intensities, patch and batch.

Source:
    Isensee et al., Nature Methods 18, 2021, supplementary notes 2 to 4; nnU-Net v2.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from math import prod

import numpy as np

from medseg.dataset.description import Channel
from medseg.dataset.fingerprint import ChannelStatistics
from medseg.dataset.normalise import ClipAndScale, UnitRange, ZScore
from medseg.dataset.topology import SMALLEST_EDGE, Topology, topology
from medseg.types import GridSize

CROP_PAYS = 0.75
"""Below this share of voxels left by cutting empty borders, z-scores ignore zeros."""

LARGEST_PATCH = {2: 2048**2, 3: 256**3}
"""Voxels that the search for a patch begins with."""

DATASET_SHARE = 0.05
"""Share of the data set's voxels that one batch may hold."""


def normalisation(
    channel: Channel, statistics: ChannelStatistics, nonzero_share: float
) -> tuple[ZScore | ClipAndScale | UnitRange, str]:
    """How the intensities of one channel become comparable."""
    modality = channel.modality.upper()
    if modality == "CT" and statistics.std > 0:
        how = ClipAndScale(
            low=statistics.percentile_00_5,
            high=statistics.percentile_99_5,
            mean=statistics.mean,
            std=statistics.std,
        )
        return how, "CT has a unit: all cases are clipped and scaled alike, by the foreground."
    if modality == "PT" and _holds_uptake_values(channel) and statistics.std > 0:
        how = ClipAndScale(
            low=0.0, high=statistics.percentile_99_5, mean=statistics.mean, std=statistics.std
        )
        return how, (
            "Standardised uptake values have a unit: all cases are clipped and scaled alike, "
            "from 0 to what the foreground reaches."
        )
    if modality == "RGB":
        scale = next(s for s in (1.0, 255.0, 65535.0, np.inf) if statistics.maximum <= s)
        if np.isfinite(scale):
            return UnitRange(scale=scale), f"Colours have a range: {scale:g} becomes 1."
    inside = nonzero_share < CROP_PAYS
    where = "the voxels that are not 0" if inside else "the whole image"
    return ZScore(inside_nonzero=inside), (
        f"{channel.modality or 'This'} has no common unit: each case gets mean 0 and deviation 1 "
        f"over {where}."
        + (
            " Standardised uptake values have one: call the channel SUV."
            if modality == "PT"
            else ""
        )
    )


def _holds_uptake_values(channel: Channel) -> bool:
    """Whether a PET channel is called SUV, and so has no scanner's own unit."""
    return "suv" in re.split(r"[^a-z]+", channel.name.lower())


def largest_patch(
    spacing_mm: Sequence[float], grid: Sequence[int], fits: Callable[[Topology], bool]
) -> Topology | None:
    """The largest patch in the shape of the median case whose network fits.

    It begins with the case (at most `LARGEST_PATCH` voxels) and takes steps off the axis that
    covers most of the case.

    Args:
        spacing_mm: Along the axes of the network.
        grid: Median grid size along these axes; a K that a 2D network does not see may follow.
        fits: Whether a network is small enough.

    Returns:
        None if not even the smallest patch fits.
    """
    dims, grid = len(spacing_mm), tuple(grid)[: len(spacing_mm)]
    aspect = 1 / np.array(spacing_mm)
    scale = (LARGEST_PATCH[dims] / prod(aspect)) ** (1 / dims)
    patch = [min(round(a * scale), n) for a, n in zip(aspect, grid, strict=True)]
    shape = _with_two_stages(spacing_mm, patch)
    while not fits(shape):
        smaller = _one_step_smaller(spacing_mm, grid, shape)
        if smaller is None:
            return None
        shape = smaller
    return shape


def batch_limit(
    patch_size: Sequence[int], grid: GridSize, cases: int, *, share: float = DATASET_SHARE
) -> int:
    """Patches that together hold at most a share of the data set's voxels, at least 2."""
    return max(2, round(cases * prod(grid) * share / prod(patch_size)))


def tells_sides_apart(structures: Iterable[str]) -> bool:
    """Whether names of structures come in pairs of left and right."""
    names = {name.lower() for name in structures}
    return any("left" in name and name.replace("left", "right") in names for name in names)


def _with_two_stages(spacing_mm: Sequence[float], patch: list[int]) -> Topology:
    """The network of a patch, which grows if it is too small to be halved once."""
    shape = topology(spacing_mm, patch)
    if len(shape.strides) == 1:
        patch = [n if n == 1 else max(n, 2 * SMALLEST_EDGE) for n in patch]
        shape = topology(spacing_mm, patch)
    while len(shape.strides) == 1:
        patch[int(np.argmin(spacing_mm))] += SMALLEST_EDGE
        shape = topology(spacing_mm, patch)
    return shape


def _one_step_smaller(
    spacing_mm: Sequence[float], grid: Sequence[int], shape: Topology
) -> Topology | None:
    """One divisor off the axis that covers most of the case; None when none can give more."""
    patch = list(shape.patch_size)
    by_cover = sorted(range(len(patch)), key=lambda a: patch[a] / grid[a], reverse=True)
    for axis in by_cover:
        less = patch.copy()
        less[axis] -= shape.divisor[axis]
        if less[axis] < 2 * SMALLEST_EDGE:
            continue
        # A smaller patch may have fewer halvings, and then a smaller step is enough.
        less[axis] = patch[axis] - topology(spacing_mm, less).divisor[axis]
        smaller = topology(spacing_mm, less)
        if prod(smaller.patch_size) < prod(patch) and len(smaller.strides) > 1:
            return smaller
    return None
