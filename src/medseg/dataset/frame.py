"""The grid that all cases are brought to, and whether a network sees it as slices or volumes.

Source:
    Isensee et al., Nature Methods 18, 2021, supplementary note 2; nnU-Net v2, default planner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.dataset.explain import Reason, by
from medseg.dataset.fingerprint import Fingerprint
from medseg.dataset.topology import SMALLEST_EDGE
from medseg.errors import PlanError
from medseg.types import GridSize, SpacingMm

Config = Literal["2d", "3d_full", "3d_low", "cascade"]
"""Whether the network sees slices (I, J) or volumes (I, J, K), and these at full resolution, at a
coarser one, or at full resolution with the mask that was found at the coarser one."""

WantedConfig = Literal["auto", "2d", "3d_full", "3d_low", "cascade"]
"""A configuration to plan, or the one that the data ask for."""

ANISOTROPY = 3.0
"""From this ratio of spacings (and of sizes) on, an axis is coarse."""

COARSE_PERCENTILE = 10
"""Percentile of the spacings along a coarse axis that becomes the target there."""

FEWEST_SLICES = SMALLEST_EDGE
"""Median number of slices from which on a network sees volumes by default."""


@dataclass(frozen=True)
class Frame:
    """Where cases are brought to.

    Attributes:
        config: Whether the network sees slices or volumes.
        orientation: Where I, J and K point to.
        spacing_mm: Along I, J, K.
        grid: Median grid size of the cases at that spacing.
        reasons: Why.
    """

    config: Config
    orientation: str
    spacing_mm: SpacingMm
    grid: GridSize
    reasons: tuple[Reason, ...]


def choose_frame(fingerprint: Fingerprint, wanted: Literal["auto", "2d", "3d_full"]) -> Frame:
    """Decide spacing, order of axes, and whether the network sees slices or volumes.

    "auto" is never the coarse resolution: nnU-Net takes that one only where a cross-validation
    found it to be better. Nor is it the cascade, which takes two trainings.

    Raises:
        PlanError: If volumes are asked for and there are none.
    """
    spacing_ras, why_spacing = _target_spacing(fingerprint)
    letters, why_letters = _orientation(spacing_ras, fingerprint.grid_sizes)
    order = ["RAS".index(letter) for letter in letters]
    i, j, k = (spacing_ras[axis] for axis in order)
    slices = _median_grid(fingerprint, spacing_ras, order, slices=True)[2]
    config, why_config = _config(wanted, slices)
    grid = _median_grid(fingerprint, spacing_ras, order, slices=config == "2d")
    reasons = (
        Reason(what="configuration", value=config, why=why_config),
        Reason(what="axes", value=letters, why=why_letters),
        Reason(what="spacing", value=f"{by((i, j, k))} mm", why=why_spacing),
        Reason(what="median case", value=f"{by(grid)} voxels", why="At that spacing."),
    )
    return Frame(config, letters, (i, j, k), grid, reasons)


def _target_spacing(fingerprint: Fingerprint) -> tuple[SpacingMm, str]:
    """Spacing that all cases are resampled to, along R, A, S."""
    spacings = np.array(fingerprint.spacings_mm)
    sizes = np.median(np.array(fingerprint.grid_sizes), axis=0)
    target = np.median(spacings, axis=0)
    worst = _coarsest(target)
    others = [axis for axis in range(3) if axis != worst]
    finer = float(target[others].max())
    thick = target[worst] > ANISOTROPY * finer
    few = 1 < sizes[worst] * ANISOTROPY < sizes[others].min()
    why = "The median of all cases."
    if thick and few:
        low = float(np.percentile(spacings[:, worst], COARSE_PERCENTILE))
        target[worst] = max(low, finer)
        why = (
            f"The median of all cases; along the thick axis the {COARSE_PERCENTILE}th percentile, "
            "so that few cases lose slices."
        )
    i, j, k = (float(s) for s in target.round(6))
    return (i, j, k), why


def _orientation(spacing_mm: SpacingMm, grid_sizes: Sequence[GridSize]) -> tuple[str, str]:
    """Which axis is I, J and K: the coarsest one, or one of a single slice, is K.

    Args:
        spacing_mm: Along R, A, S.
        grid_sizes: Of each case, along R, A, S.
    """
    single = np.median(np.array(grid_sizes), axis=0) == 1
    if single.any() and not single.all():
        last, why = int(np.flatnonzero(single)[-1]), "Images have one slice along the last axis."
    else:
        last, why = _coarsest(np.array(spacing_mm)), "The coarsest axis comes last."
    letters = "RAS"
    return letters.replace(letters[last], "") + letters[last], why


def _median_grid(
    fingerprint: Fingerprint, spacing_mm: SpacingMm, order: Sequence[int], *, slices: bool
) -> GridSize:
    """Median grid size of the cases after resampling.

    Args:
        fingerprint: The data set.
        spacing_mm: Target along R, A, S.
        order: Which of R, A, S becomes I, J, K.
        slices: Whether the slices along K stay as they are.
    """
    sizes, spacings = np.array(fingerprint.grid_sizes), np.array(fingerprint.spacings_mm)
    resampled = np.maximum(1, np.round(sizes * spacings / np.array(spacing_mm)))
    if slices:
        resampled[:, order[2]] = sizes[:, order[2]]
    i, j, k = (int(n) for n in np.round(np.median(resampled, axis=0))[list(order)])
    return (i, j, k)


def _coarsest(spacing_mm: npt.NDArray[np.float64]) -> int:
    """The axis of largest spacing; the last of those that are equal within 1 %."""
    return int(np.flatnonzero(spacing_mm >= spacing_mm.max() * 0.99)[-1])


def _config(wanted: Literal["auto", "2d", "3d_full"], slices: int) -> tuple[Config, str]:
    if wanted == "3d_full" and slices == 1:
        raise PlanError(
            "A 3D network needs volumes.",
            received="cases of one slice",
            cure="Use --config 2d, or leave it out.",
        )
    if wanted != "auto":
        return wanted, "As asked for."
    if slices == 1:
        return "2d", "Cases have one slice."
    if slices < FEWEST_SLICES:
        return "2d", f"The median case has {slices} slices, too few for a 3D network."
    return "3d_full", f"The median case has {slices} slices."
