"""Sliding window: a volume of any size through a network of one patch size.

Windows overlap, and their logits are averaged with Gaussian weights, as evidence
(`medseg.inference.evidence`). The sum is kept for the few heaviest classes of each voxel only
(`medseg.space.votes.TopClasses`), and the network's output is taken slab by slab: nothing that
grows with the number of classes is larger than a slab.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, prod
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medseg.inference.engine import Activation, Part
from medseg.inference.evidence import depth_of, to_probabilities
from medseg.progress import SILENT, Progress
from medseg.space.kernels import add_window
from medseg.space.votes import SLOTS, TopClasses
from medseg.specs import WindowSpec
from medseg.types import FloatArray, GridSize
from medseg.volume.geometry import Geometry

_BATCH_VOXELS = 1 << 19
"""Image voxels of a batch of windows, at most."""


class Opinions(Protocol):
    """Whoever gives evidence for a batch: an `Ensemble`.

    Attributes:
        opinions: How many there are on each voxel; their mean counts.
        activation: What makes probabilities of logits.
    """

    opinions: int
    activation: Activation

    def parts(self, batch: FloatArray, depth: float) -> Iterator[Part]:
        """Patches (B, C, *patch) -> evidence that begins so deep, slab by slab."""
        ...


class Span(NamedTuple):
    """A window along one axis.

    Attributes:
        start: First voxel; negative where a thin image is padded.
        weights: Share that this window has in each of its voxels, shape (patch,). The shares of
            all windows of the axis sum to 1 in every voxel.
    """

    start: int
    weights: npt.NDArray[np.float32]


Window = tuple[Span, Span, Span]
"""Along I, J and K."""


class Place(NamedTuple):
    """What an image and a window have in common.

    Attributes:
        inside: These voxels in the image.
        within: The same in the window.
        shares: The window's share in each of them; those of all windows sum to 1.
    """

    inside: tuple[slice, ...]
    within: tuple[slice, ...]
    shares: FloatArray


def sweep(
    image: FloatArray,
    network: Opinions,
    spec: WindowSpec,
    *,
    classes: int,
    geometry: Geometry,
    slots: int = SLOTS,
    progress: Progress = SILENT,
) -> TopClasses:
    """Probabilities of a whole image, of the heaviest classes at each voxel.

    Args:
        image: Normalised intensities, float32, shape (C, I, J, K).
        network: Gives evidence of a batch of windows. It sees slices (B, C, I, J) when the
            window has K = 1.
        spec: Window, overlap and the width of the Gaussian.
        classes: Number of classes N, background included; or of regions.
        slots: How many of them are kept in each voxel.
        geometry: Where the image lies.
        progress: Told after each batch of windows.

    Returns:
        What the mean logits over windows and opinions say; its weights are probabilities.

    Source:
        Positions, Gaussian (sigma an eighth of the window) and the mean of logits as in nnU-Net v2
        (Isensee et al., Nature Methods 18, 2021).
    """
    top = TopClasses.empty(classes, geometry, slots=slots)
    depth = depth_of(classes, top.classes.shape[0])
    for batch, windows in windowed(image, spec, name="windows", progress=progress):
        _add_all(top, network, batch, windows, depth)
    to_probabilities(top.weights, network.activation, depth)
    return top


def windowed(
    image: FloatArray, spec: WindowSpec, *, name: str, progress: Progress
) -> Iterator[tuple[FloatArray, Sequence[Window]]]:
    """Cut an image into windows, a batch at a time.

    Args:
        image: Normalised intensities, float32, shape (C, I, J, K).
        spec: Window, overlap and the width of the Gaussian.
        name: What the bar is called.
        progress: Told after each batch.

    Yields:
        Patches (B, C, *patch), slices (B, C, I, J) when the window has K = 1; and the windows they
        were cut from.
    """
    sizes = zip(image.shape[1:], spec.patch_size, strict=True)
    windows = [(i, j, k) for i, j, k in product(*(spans(n, patch, spec) for n, patch in sizes))]
    flat = spec.patch_size[2] == 1
    with progress.task(name, len(windows)) as task:
        for some in _batches(windows, max(1, _BATCH_VOXELS // prod(spec.patch_size))):
            batch = np.stack([cut(image, _start(window), spec.patch_size) for window in some])
            yield batch[..., 0] if flat else batch, some
            task.advance(len(some))


def spans(size: int, patch: int, spec: WindowSpec) -> tuple[Span, ...]:
    """Windows along one axis: evenly spread, the first and last at the ends.

    Args:
        size: Voxels of the image; where it is thinner than the window, the image is padded on
            both sides.
        patch: Voxels of the window.
        spec: Overlap and width of the Gaussian.
    """
    padded, weight = max(size, patch), gaussian(patch, spec.sigma_share)
    starts = positions(padded, patch, spec.overlap)
    total = np.zeros(padded)
    for start in starts:
        total[start : start + patch] += weight
    before = (padded - size) // 2
    shares = [(weight / total[s : s + patch]).astype(np.float32) for s in starts]
    return tuple(Span(s - before, share) for s, share in zip(starts, shares, strict=True))


def positions(size: int, patch: int, overlap: float) -> tuple[int, ...]:
    """First voxels of the windows along an axis of at least `patch` voxels.

    Steps are at most (1 - overlap) of the window, and at least one voxel.
    """
    free = size - patch
    steps = ceil(free / max(1.0, patch * (1 - overlap)))
    return tuple(round(free * n / steps) for n in range(steps + 1)) if steps else (0,)


def gaussian(patch: int, sigma_share: float) -> npt.NDArray[np.float64]:
    """Weight of each voxel of a window along one axis, 1 in its middle, shape (patch,)."""
    away = (np.arange(patch) - (patch - 1) / 2) / (sigma_share * patch)
    return np.asarray(np.exp(-0.5 * away**2))


def cut(image: FloatArray, start: GridSize, size: GridSize) -> FloatArray:
    """The part of `image` (C, I, J, K) from `start`, with zeros where it lies outside."""
    part = np.zeros((image.shape[0], *size), np.float32)
    inside, within = _overlap(image.shape[1:], start, size)
    part[(slice(None), *within)] = image[(slice(None), *inside)]
    return part


def _add_all(
    top: TopClasses,
    network: Opinions,
    batch: FloatArray,
    windows: Sequence[Window],
    depth: float,
) -> None:
    """Add all that is said about a batch of windows; no slab stays for the next batch."""
    for part in network.parts(batch, depth):
        _add(top, part, windows, 1 / network.opinions)


def _add(top: TopClasses, part: Part, windows: Sequence[Window], share: float) -> None:
    """Add a slab of each window, times the window's share of each voxel and the opinion's."""
    for values, window in zip(part.values, windows, strict=True):
        solid = values[..., None] if values.ndim == 3 else values
        slab = (_slab(window[0], part.first, solid.shape[1]), *window[1:])
        place = placed(slab, solid.shape[1:], top.geometry.grid_size)
        first = (place.inside[0].start, place.inside[1].start, place.inside[2].start)
        seen = solid[(slice(None), *place.within)]
        if seen.size:
            add_window(top.classes, top.weights, seen, np.float32(share) * place.shares, first)


def placed(window: Window, size: Sequence[int], grid: Sequence[int]) -> Place:
    """Where a window of `size` voxels lies in an image of `grid` voxels, and its shares there."""
    inside, within = _overlap(grid, _start(window), size)
    shares = (span.weights[voxels] for span, voxels in zip(window, within, strict=True))
    i, j, k = np.ix_(*shares)
    return Place(inside, within, i * j * k)


def _slab(span: Span, first: int, planes: int) -> Span:
    return Span(span.start + first, span.weights[first : first + planes])


def _start(window: Window) -> GridSize:
    i, j, k = (span.start for span in window)
    return (i, j, k)


def _overlap(
    grid: Sequence[int], start: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a window lies in the image, and where the image lies in the window."""
    first = [max(0, s) for s in start]
    last = [max(a, min(n, s + p)) for a, n, s, p in zip(first, grid, start, size, strict=True)]
    inside = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    within = tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))
    return inside, within


def _batches(windows: Sequence[Window], size: int) -> Iterator[Sequence[Window]]:
    for n in range(0, len(windows), size):
        yield windows[n : n + size]
