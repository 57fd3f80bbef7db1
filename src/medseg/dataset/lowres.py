"""The coarser grid at which a patch sees enough of a case.

Source:
    Isensee et al., Nature Methods 18, 2021, supplementary note 2; nnU-Net v2, default planner.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from medseg.dataset.explain import Reason, by
from medseg.dataset.frame import Frame
from medseg.errors import PlanError
from medseg.types import GridSize, SpacingMm

ENOUGH_CONTEXT = 0.25
"""Share of the median case that a patch must see; below, a coarser resolution is planned too."""

SPACING_STEP = 1.03
"""The spacing grows by this factor until the patch sees enough."""

SAME_AXIS = 2.0
"""Axes finer than the coarsest by more than this factor grow alone."""

FEWER_VOXELS = 2.0
"""A coarser resolution has fewer voxels than the full one by at least this factor."""


def low_frame(full: Frame, patch_at: Callable[[Frame], GridSize]) -> Frame:
    """The frame of `3d_low`, which follows from that of `3d_full`.

    Args:
        full: At full resolution.
        patch_at: The patch that the memory holds at the resolution of a frame.

    Raises:
        PlanError: If full resolution already fits.
    """
    patch = patch_at(full)
    seen = prod(patch) / prod(full.grid)
    if seen >= ENOUGH_CONTEXT:
        raise _fits_already(f"its patch sees {_percent(min(seen, 1))} of the median case")
    spacing = np.array(full.spacing_mm)
    low = full
    while prod(patch) / prod(low.grid) < ENOUGH_CONTEXT:
        finer = spacing.max() / spacing > SAME_AXIS
        spacing = spacing * np.where(finer | (not finer.any()), SPACING_STEP, 1.0)
        low = _at(full, spacing)
        patch = patch_at(low)
    fewer = prod(full.grid) / prod(low.grid)
    if fewer < FEWER_VOXELS:
        raise _fits_already(
            f"its patch sees {_percent(seen)} of the median case, and a quarter of it with "
            f"1/{fewer:.2g} of the voxels"
        )
    times = by(tuple(round(b / a, 2) for a, b in zip(full.spacing_mm, low.spacing_mm, strict=True)))
    return replace(
        low,
        reasons=(
            Reason(
                what="configuration",
                value="3d_low",
                why=f"At full resolution the largest patch sees {_percent(seen)} of the median "
                f"case, less than {_percent(ENOUGH_CONTEXT)}.",
            ),
            *(reason for reason in full.reasons if reason.what == "axes"),
            Reason(
                what="spacing",
                value=f"{by(_rounded(low.spacing_mm))} mm",
                why=f"{times} times that of 3d_full: grown by 3 % a step until the patch sees "
                f"{_percent(prod(patch) / prod(low.grid))} of the median case.",
            ),
            Reason(what="median case", value=f"{by(low.grid)} voxels", why="At that spacing."),
        ),
    )


def _at(full: Frame, spacing_mm: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Frame:
    """The same cases at another spacing."""
    i, j, k = (float(s) for s in spacing_mm.round(6))
    sizes = np.array(full.grid) * np.array(full.spacing_mm) / spacing_mm
    ni, nj, nk = (max(1, int(n)) for n in sizes.round())
    return replace(full, config="3d_low", spacing_mm=(i, j, k), grid=(ni, nj, nk))


def _fits_already(received: str) -> PlanError:
    return PlanError(
        "A coarser resolution is for cases of which a patch sees less than a quarter, until they "
        f"have at most 1/{FEWER_VOXELS:g} of their voxels.",
        received=f"full resolution already fits: {received}",
        cure="Use --config 3d_full.",
    )


def _rounded(spacing_mm: SpacingMm) -> SpacingMm:
    i, j, k = (round(s, 3) for s in spacing_mm)
    return (i, j, k)


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
