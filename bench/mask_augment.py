"""What does it cost to dilate, erode, open or close a mask by a ball, ours beside scipy's?

    python bench/mask_augment.py

A structure of rough outline fills an eighth of a patch of 96^3. Peers are scipy with the ball spelt
out as a structuring element, as skimage, and with it nnU-Net, hands it on, and the threshold of an
exact distance transform. Masks are compared voxel by voxel. CPU seconds of the faster of two, on
one thread.
"""

import os
import time
from collections.abc import Callable
from functools import partial

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np
from scipy import ndimage

from medseg.transforms.balls import Operator, operated
from medseg.types import Mask

SIZE, RADII = (96, 96, 96), (1, 4, 8)
OPERATORS: tuple[Operator, ...] = ("dilation", "opening")


def structure() -> Mask:
    """A ball with a rough outline."""
    at = np.stack(np.indices(SIZE)) - 47.5
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SIZE), 3)
    return np.sqrt((at**2).sum(0)) + 4 * noise / noise.std() < 30


def spelt_out(mask: Mask, operator: Operator, radius: int) -> Mask:
    """Binary morphology of scipy with every voxel of the ball."""
    ball = ((np.indices((2 * radius + 1,) * 3) - radius) ** 2).sum(0) <= radius**2
    if operator == "opening":
        mask = ndimage.binary_erosion(mask, ball, border_value=1)
    return ndimage.binary_dilation(mask, ball)


def by_transform(mask: Mask, operator: Operator, radius: int) -> Mask:
    """The exact distance transform of scipy, and a threshold."""
    if operator == "opening":
        mask = ndimage.distance_transform_edt(mask) > radius
    return ndimage.distance_transform_edt(~mask) <= radius


def seconds(work: Callable[[], Mask]) -> float:
    """CPU seconds of the faster of two."""
    found = []
    for _ in range(2):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def main() -> None:
    """Print a table."""
    mask = structure()
    print(f"{mask.mean():.0%} of the patch")
    print(
        "| operator | radius | ours | ball spelt out | distance transform |\n|---|--:|--:|--:|--:|"
    )
    for operator in OPERATORS:
        for radius in RADII:
            ours = operated(mask, operator, radius)
            peers = (spelt_out, by_transform)
            assert all(np.array_equal(ours, peer(mask, operator, radius)) for peer in peers)
            cells = [seconds(partial(f, mask, operator, radius)) for f in (operated, *peers)]
            print(f"| {operator} | {radius} | " + " | ".join(f"{c:.3f} s" for c in cells) + " |")


if __name__ == "__main__":
    main()
