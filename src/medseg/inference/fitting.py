"""Whether a bundle was made for a case, and whether the machine has room for it."""

from math import prod

import psutil

from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import network_grid
from medseg.errors import WrongInput
from medseg.inference.configured import slots_of
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume

_MODALITIES = {"MRI": "MR", "PET": "PT"}
"""Other words for DICOM's."""


def require_fitting(volume: Volume, plan: Plan) -> None:
    """Pass if a bundle of this plan was made for such a case.

    Raises:
        WrongInput: If channels, modality or dimensions differ.
    """
    wanted = ", ".join(f"{c.name} ({c.modality})" if c.modality else c.name for c in plan.channels)
    channels = volume.array.shape[0]
    if channels != len(plan.channels):
        raise WrongInput(
            f"This bundle takes {len(plan.channels)} channel(s): {wanted}.",
            received=f"{channels} channel(s)",
            cure="Give one file for each channel, named CASE_0000, CASE_0001 and so on.",
        )
    given = _modality(volume.source.modality)
    known = {_modality(c.modality) for c in plan.channels}
    if given and all(known) and given not in known:
        raise WrongInput(
            f"This bundle was made for {wanted}.",
            received=f"a {given} image",
            cure="Choose a bundle that was trained on this modality.",
        )
    if plan.config != "2d" and volume.geometry.is_2d:
        raise WrongInput(
            "This bundle was made for volumes.",
            received="a single slice",
            cure="Give it the whole series, or choose a 2D bundle.",
        )


def require_room(geometry: Geometry, plan: Plan, *, maps: int = 0) -> None:
    """Pass if a case fits into this machine's memory at the bundle's spacing.

    A header that gives metres for millimetres would otherwise end the process without a word.

    Args:
        geometry: Where the case lies.
        plan: What it is brought to.
        maps: Attention maps that are kept beside the classes.

    Raises:
        WrongInput: If it does not fit.
    """
    grid = network_grid(geometry.reordered(*geometry.steps_to(plan.orientation_of(geometry))), plan)
    voxels = prod(grid.grid_size)
    needed = voxels * (
        8 * (len(plan.channels) + (plan.mask_channels > 0))
        + 6 * min(plan.network.classes, slots_of(plan))
        + 4 * maps
    )
    memory = psutil.virtual_memory().total
    if needed > memory:
        spacing = " x ".join(f"{mm:.3g}" for mm in geometry.spacing_mm)
        raise WrongInput(
            "At the spacing of the bundle a case must fit into memory.",
            received=f"voxels of {spacing} mm, which become {' x '.join(map(str, grid.grid_size))} "
            f"and need {needed / 2**30:.0f} of {memory / 2**30:.0f} GiB",
            cure="Check the spacing in the file's header, or crop the case.",
        )


def _modality(word: str) -> str:
    return _MODALITIES.get(word.upper(), word.upper())
