"""From a stored case to one training sample."""

import numpy as np
import numpy.typing as npt

from medseg.dataset.plan import Plan
from medseg.dataset.store import StoredCase
from medseg.transforms.augment import apply, draw, move_labels, region
from medseg.transforms.masks import draw_mask, mask_channels, vary_mask
from medseg.transforms.warp import Float32
from medseg.types import GridSize, IntArray


def training_sample(
    stored: StoredCase, plan: Plan, generator: np.random.Generator
) -> tuple[Float32, IntArray]:
    """One augmented patch of a case: place it, draw, read only what is needed, apply.

    Args:
        stored: The preprocessed case.
        plan: Patch size, spacing, augmentation and share of foreground patches. That of a cascade
            also shows the mask of the stage before, which the case holds.
        generator: Gives all random numbers: the same state gives the same sample, bit for bit.

    Returns:
        Image, float32, shape (C, *patch_size), and class indices, shape `patch_size`. The channels
        of a mask follow those of the image: they move with it, and its intensities are their own.
    """
    centre = draw_centre(
        stored,
        plan.patch_size,
        plan.recipe.foreground_share,
        generator,
        only_judged=plan.ignored_value is not None,
    )
    params = draw(
        plan.augment, plan.patch_size, plan.spacing_mm, generator, channels=len(plan.channels)
    )
    box = region(params, centre, plan.patch_size)
    image, labels = apply(*stored.read(*box), params, plan.patch_size)
    if plan.mask_augment is None:
        return image, labels
    mask = move_labels(stored.read_mask(*box), params, plan.patch_size)
    mask = vary_mask(mask, draw_mask(plan.mask_augment, plan.mask_channels, generator))
    return np.concatenate([image, mask_channels(mask, plan.mask_channels)]), labels


def draw_centre(
    stored: StoredCase,
    patch_size: GridSize,
    foreground_share: float,
    generator: np.random.Generator,
    *,
    only_judged: bool = False,
) -> tuple[int, int, int]:
    """Draw which voxel of the case becomes voxel `patch_size // 2` of the patch.

    With probability `foreground_share` it is a voxel of a structure: each structure that the case
    holds is equally likely. Otherwise every place is; with `only_judged` every voxel that is not
    ignored, so that each patch meets a scribble. The patch stays inside the case where it can, and
    a case that is smaller lies in the middle of the patch.
    """
    start = np.array([(n - p) // 2 for n, p in zip(stored.grid_size, patch_size, strict=True)])
    room = np.subtract(stored.grid_size, patch_size)
    half = np.array([p // 2 for p in patch_size])
    present = [n for n in range(1, len(stored.class_voxels)) if stored.class_voxels[n]]
    if generator.random() < foreground_share and present:
        places = stored.locations(present[generator.integers(len(present))])
        wanted = places[generator.integers(len(places))] - half
    elif only_judged and any(stored.class_voxels):
        wanted = _judged_voxel(stored, generator) - half
    else:
        wanted = generator.integers(np.maximum(room, 0) + 1)
    start = np.where(room > 0, np.clip(wanted, 0, np.maximum(room, 0)), start)
    i, j, k = (start + half).tolist()
    return i, j, k


def _judged_voxel(stored: StoredCase, generator: np.random.Generator) -> npt.NDArray[np.int32]:
    """Any voxel that is not ignored, background among them; shape (3,)."""
    shares = np.array(stored.class_voxels) / sum(stored.class_voxels)
    places = stored.locations(int(generator.choice(len(shares), p=shares)))
    chosen: npt.NDArray[np.int32] = places[generator.integers(len(places))]
    return chosen
