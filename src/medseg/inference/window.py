"""Sliding window: a volume of any size through a network of one patch size.

Windows overlap, and their logits are averaged with Gaussian weights, as evidence
(`medseg.inference.evidence`). The sum is kept for the few heaviest classes of each voxel only
(`medseg.space.votes.TopClasses`), and the network's output is taken slab by slab: nothing that
grows with the number of classes is larger than a slab. Of a large volume, only the planes that
windows still reach are held (`medseg.inference.passage`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import ceil, prod
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medseg.inference.blank import Blanks
from medseg.inference.engine import BATCH_VOXELS, Activation, Part
from medseg.inference.evidence import depth_of
from medseg.inference.passage import PIECES, Passage, groups
from medseg.progress import SILENT, Progress
from medseg.space.kernels import add_window
from medseg.space.votes import SLOTS, Evidence, TopClasses
from medseg.specs import WindowSpec
from medseg.types import FloatArray, GridSize
from medseg.volume.geometry import Geometry


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


class Slab(NamedTuple):
    """Planes of a volume that no window will reach any more.

    Attributes:
        first: The first of them, counted along the axis of the passage. But for the first slab it
            is the last plane of the slab before: between two slabs nothing is missing.
        repeated: Planes at its beginning that the slab before had too: 0 or 1.
        is_last: Whether it ends the volume.
        top: What is said about them.
    """

    first: int
    repeated: int
    is_last: bool
    top: TopClasses


def sweep(
    image: FloatArray,
    network: Opinions,
    spec: WindowSpec,
    *,
    classes: int,
    geometry: Geometry,
    slots: int = SLOTS,
    batch_voxels: int = BATCH_VOXELS,
    progress: Progress = SILENT,
) -> TopClasses:
    """What is said about a whole image: the evidence of the heaviest classes at each voxel.

    Args:
        image: Normalised intensities, float32, shape (C, I, J, K).
        network: Gives evidence of a batch of windows. It sees slices (B, C, I, J) when the
            window has K = 1.
        spec: Window, overlap and the width of the Gaussian.
        classes: Number of classes N, background included; or of regions.
        slots: How many of them are kept in each voxel.
        geometry: Where the image lies.
        batch_voxels: Image voxels that the network is shown at a time, about.
        progress: Told after each batch of windows.

    Returns:
        The mean logits over windows and opinions, as evidence.

    Source:
        Positions, Gaussian (sigma an eighth of the window) and the mean of logits as in nnU-Net v2
        (Isensee et al., Nature Methods 18, 2021).
    """
    (slab,) = slabs(
        image,
        network,
        spec,
        classes=classes,
        geometry=geometry,
        slots=slots,
        passage=Passage.whole(image.shape[1:], spec, batch_voxels=batch_voxels),
        progress=progress,
    )
    return slab.top


def slabs(
    image: FloatArray,
    network: Opinions,
    spec: WindowSpec,
    *,
    classes: int,
    geometry: Geometry,
    passage: Passage,
    slots: int = SLOTS,
    air: Sequence[float] | None = None,
    progress: Progress = SILENT,
) -> Iterator[Slab]:
    """The same as `sweep`, slab by slab along one axis: few planes are held at a time.

    A window that is the same in all of its voxels is shown to the network once; its answer holds
    for each other window like it.

    Args:
        image: As in `sweep`.
        network: As in `sweep`.
        spec: As in `sweep`.
        classes: As in `sweep`.
        geometry: As in `sweep`.
        passage: Along which axis, and how many planes are held.
        slots: As in `sweep`.
        air: For each channel, the largest intensity of air: windows of air are background and are
            not shown to the network. None shows all windows.
        progress: As in `sweep`.

    Yields:
        Slabs in the order of the axis. Without a copy if there is one only.
    """
    axis, grid = passage.axis, image.shape[1:]
    evidence = Evidence(network.activation, depth_of(classes, min(classes, slots)))
    along = [spans(n, p, spec) for n, p in zip(grid, spec.patch_size, strict=True)]
    held = _Held(classes, slots, geometry, passage, evidence)
    teller = Blanks(network, evidence, classes, air)
    with progress.task("windows", prod(map(len, along))) as task:
        groups_here = groups([span.start for span in along[axis]], spec.patch_size[axis], passage)
        for n, (first, last) in enumerate(groups_here):
            if n:
                yield from held.finished(along[axis][first].start)
            along_group = [*along[:axis], along[axis][first:last], *along[axis + 1 :]]
            windows = [(i, j, k) for i, j, k in product(*along_group)]
            for some in _batches(windows, passage.batch):
                for part, of in teller.parts(cut_all(image, some, spec)):
                    held.add(part, [some[w] for w in of], 1 / network.opinions)
                task.advance(len(some))
    yield from held.finished(grid[axis])


class _Held:
    """The planes that windows still reach."""

    def __init__(
        self,
        classes: int,
        slots: int,
        geometry: Geometry,
        passage: Passage,
        evidence: Evidence,
    ) -> None:
        self._geometry, self._axis, self._origin = geometry, passage.axis, 0
        self._piece = max(1, passage.planes // PIECES)
        self._before: TopClasses | None = None
        place = geometry.cropped((0, 0, 0), self._size(passage.planes))
        self._top = TopClasses.empty(classes, place, slots=slots, evidence=evidence)

    def add(self, part: Part, windows: Sequence[Window], share: float) -> None:
        """Add a slab of each window, times the window's share of each voxel and the opinion's."""
        top = self._top
        for values, window in zip(part.values, windows, strict=True):
            solid = values[..., None] if values.ndim == 3 else values
            slab = [_slab(window[0], part.first, solid.shape[1]), *window[1:]]
            slab[self._axis] = slab[self._axis]._replace(
                start=slab[self._axis].start - self._origin
            )
            i, j, k = slab
            place = placed((i, j, k), solid.shape[1:], top.geometry.grid_size)
            first = (place.inside[0].start, place.inside[1].start, place.inside[2].start)
            seen = solid[(slice(None), *place.within)]
            if seen.size:
                add_window(top.classes, top.weights, seen, np.float32(share) * place.shares, first)

    def finished(self, until: int) -> Iterator[Slab]:
        """Hand out the planes before `until`, and hold as many that come after them."""
        end = self._geometry.grid_size[self._axis]
        if self._origin == 0 and until == self._planes == end:
            yield Slab(0, 0, True, self._top)
            return
        begin = self._origin
        for first in range(begin, until, self._piece):
            count = min(self._piece, until - first)
            yield self._handed_out(first, count, is_last=first + count == end)
        self._move_on(until - begin)

    def _handed_out(self, first: int, count: int, *, is_last: bool) -> Slab:
        """Planes from `first` on, after the last one of the slab before."""
        ready = self._top.cropped(self._corner(first - self._origin), self._size(count))
        both = [ready] if self._before is None else [self._before, ready]
        repeated = len(both) - 1
        place = self._geometry.cropped(self._corner(first - repeated), self._size(count + repeated))
        weights = np.concatenate([one.weights for one in both], axis=self._axis + 1)
        if ready.is_dense:
            classes = np.broadcast_to(ready.classes[:, :1, :1, :1], weights.shape)
        else:
            classes = np.concatenate([one.classes for one in both], axis=self._axis + 1)
        top = replace(ready, classes=classes, weights=weights, geometry=place)
        last = top.cropped(self._corner(count + repeated - 1), self._size(1))
        self._before = last.contiguous()
        return Slab(first - repeated, repeated, is_last, top)

    def _move_on(self, count: int) -> None:
        """Forget the first planes; those after them take their place."""
        self._origin += count
        top = self._top
        for array in (top.weights,) if top.is_dense else (top.classes, top.weights):
            planes = np.moveaxis(array, self._axis + 1, 0)
            for start in range(count, len(planes), count):
                block = planes[start : start + count]
                planes[start - count : start - count + len(block)] = block
            planes[max(0, len(planes) - count) :] = 0

    @property
    def _planes(self) -> int:
        return self._top.geometry.grid_size[self._axis]

    def _size(self, planes: int) -> GridSize:
        """The grid, of so many planes."""
        return _with(self._geometry.grid_size, self._axis, planes)

    def _corner(self, first: int) -> GridSize:
        return _with((0, 0, 0), self._axis, first)


def _with(numbers: GridSize, axis: int, number: int) -> GridSize:
    i, j, k = (number if n == axis else x for n, x in enumerate(numbers))
    return (i, j, k)


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
    with progress.task(name, len(windows)) as task:
        for some in _batches(windows, max(1, BATCH_VOXELS // prod(spec.patch_size))):
            yield cut_all(image, some, spec), some
            task.advance(len(some))


def cut_all(image: FloatArray, windows: Sequence[Window], spec: WindowSpec) -> FloatArray:
    """Windows as a batch: patches (B, C, *patch), or slices (B, C, I, J) if they have K = 1."""
    batch = np.stack([cut(image, _start(window), spec.patch_size) for window in windows])
    return batch[..., 0] if spec.patch_size[2] == 1 else batch


def spans(size: int, patch: int, spec: WindowSpec) -> tuple[Span, ...]:
    """Windows along one axis: evenly spread, the first and last at the ends.

    Args:
        size: Voxels of the image; where it is thinner than the window, the image is padded on
            both sides.
        patch: Voxels of the window.
        spec: Overlap and width of the Gaussian.
    """
    padded, weight = max(size, patch), gaussian(patch, spec)
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


def gaussian(patch: int, spec: WindowSpec) -> npt.NDArray[np.float64]:
    """Weight of each voxel of a window along one axis, 1 at its peak, shape (patch,)."""
    peak = patch // 2 if spec.peak == "voxel" else (patch - 1) / 2
    away = (np.arange(patch) - peak) / (spec.sigma_share * patch)
    return np.asarray(np.exp(-0.5 * away**2))


def cut(image: FloatArray, start: GridSize, size: GridSize) -> FloatArray:
    """The part of `image` (C, I, J, K) from `start`, with zeros where it lies outside."""
    part = np.zeros((image.shape[0], *size), np.float32)
    inside, within = _overlap(image.shape[1:], start, size)
    part[(slice(None), *within)] = image[(slice(None), *inside)]
    return part


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
