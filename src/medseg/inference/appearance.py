"""What an image looks like, as numbers that need neither a reference nor a network.

Grid and spacing are those of the file; intensities are those that a network sees, after a plan's
normalisation, so that a scanner's scale of its own does not count where the plan takes it out.

Source of the noise: Immerkaer, Fast Noise Variance Estimation, CVIU 64(2), 1996, along one axis
and with a median, so that edges do not count as noise.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np

from medseg.dataset.preprocess import Preprocessed
from medseg.types import FloatArray

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

_AXES = "ijk"
_WORLD = "ras"
_MOST_VOXELS = 1 << 21
"""Of an image more are not looked at; neighbours along an axis stay neighbours."""

_TO_STD = 1.4826
"""From the median of absolute values to the deviation of a normal distribution."""


def appearance(case: Preprocessed) -> dict[str, float]:
    """Size, spacing, intensities, noise, sharpness and slow changes of one image.

    Args:
        case: A case as a network sees it.

    Returns:
        Numbers by name. Of the file: `spacing_r_mm`, `extent_r_mm` and so on. Of each channel
        (`c1_` and so on, where there are several): `q05` to `q99`, `skewness`; along each axis with
        three voxels `noise_i` (deviation of what differs from the mean of both neighbours) and
        `gradient_i` (mean absolute difference of neighbours); and coefficients of a polynomial of
        degree 2 over coordinates from -1 to 1: `slow_i`, `slow_ij` and so on. A bias field changes
        these, and a mirrored image the sign of some.
    """
    found = _grid(case)
    several = len(case.image) > 1
    for n, channel in enumerate(case.image):
        prefix = f"c{n + 1}_" if several else ""
        for name, value in _channel(np.asarray(channel, np.float32)):
            found[prefix + name] = float(value)
    return found


def _grid(case: Preprocessed) -> dict[str, float]:
    original = case.original
    found = {}
    for world, axis in enumerate(original.axis_order):
        found[f"spacing_{_WORLD[world]}_mm"] = original.spacing_mm[axis]
        found[f"extent_{_WORLD[world]}_mm"] = original.spacing_mm[axis] * original.grid_size[axis]
    return found


def _channel(image: FloatArray) -> Iterator[tuple[str, float]]:
    values = _thinned(image, keep=())
    flat = values.ravel()
    for share, value in zip(QUANTILES, np.quantile(flat, QUANTILES), strict=True):
        yield f"q{round(100 * share):02d}", value
    deviation = max(float(flat.std(dtype=np.float64)), 1e-6)
    yield "skewness", float((((flat - flat.mean()) / deviation) ** 3).mean(dtype=np.float64))
    for axis, size in enumerate(image.shape):
        if size < 3:
            continue
        line = np.moveaxis(_thinned(image, keep=(axis,)), axis, 0)
        apart = line[:-2] - 2 * line[1:-1] + line[2:]
        yield f"noise_{_AXES[axis]}", _TO_STD * float(np.median(np.abs(apart))) / np.sqrt(6)
        yield f"gradient_{_AXES[axis]}", float(np.abs(np.diff(line, axis=0)).mean())
    yield from _slow(values)


def _slow(image: FloatArray) -> Iterator[tuple[str, float]]:
    """Least squares over products of coordinates, axes of one voxel left out."""
    axes = [axis for axis, size in enumerate(image.shape) if size > 1]
    lines = {
        axis: np.linspace(-1, 1, image.shape[axis]).reshape([-1 if n == axis else 1
                                                             for n in range(3)])
        for axis in axes
    }  # fmt: skip
    names, columns = ["0"], [np.ones(image.size)]
    for power in (1, 2):
        for chosen in combinations_with_replacement(axes, power):
            product = np.ones((1, 1, 1))
            for axis in chosen:
                product = product * lines[axis]
            names.append("".join(_AXES[axis] for axis in chosen))
            columns.append(np.broadcast_to(product, image.shape).ravel())
    basis = np.stack(columns)
    target = basis @ image.ravel().astype(np.float64)
    solution, *_ = np.linalg.lstsq(basis @ basis.T, target, rcond=None)
    yield from (
        (f"slow_{name}", value) for name, value in zip(names[1:], solution[1:], strict=True)
    )


def _thinned(image: FloatArray, *, keep: tuple[int, ...]) -> FloatArray:
    """Every n-th voxel along all axes but those to keep, so that not too many are left."""
    free = [axis for axis in range(3) if axis not in keep]
    step = max(1, int(np.ceil((image.size / _MOST_VOXELS) ** (1 / len(free)))))
    return image[tuple(slice(None, None, step if axis in free else 1) for axis in range(3))]
