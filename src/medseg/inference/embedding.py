"""What a network's encoder makes of an image, as one vector: for comparing cases without labels.

The deepest feature maps are pooled: mean and deviation of each feature, and along each axis the
mean of the upper half less that of the lower, which keeps a coarse layout, so that a mirrored image
does not look like its original. They are taken as the deepest convolution gives them: behind an
instance normalisation, means and deviations would be the same for every image. Several windows of a
large image are averaged.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.bundle import Configuration, build_members
from medseg.dataset.preprocess import Preprocessed
from medseg.inference.configured import shown
from medseg.inference.engine import Device
from medseg.inference.torch_engine import choose_device, computing_in
from medseg.inference.window import cut
from medseg.transforms.masks import mask_channels
from medseg.types import FloatArray

FEWEST_POSITIONS = 2
"""A feature map of a single position is a gate or a pooled vector, not the encoder's end."""

MOST_WINDOWS = 8
"""Of one case; evenly spread over the image."""


class Encoder:
    """The encoder of a configuration's first network.

    Which module is its end is found out with one patch: of all convolutions (or, without any, of
    all modules) that give feature maps, the last one of the fewest positions.

    Args:
        configuration: Plan and weights.
        device: Where it runs.
    """

    def __init__(self, configuration: Configuration, *, device: Device = "auto") -> None:
        self._plan = configuration.plan
        self._device = choose_device(device)
        first = Configuration(configuration.plan, configuration.members[:1])
        self._network = build_members(first)[0].to(self._device)
        self._dims = self._plan.network.dims
        self._end = self._deepest()

    @property
    def length(self) -> int:
        """Numbers in an embedding."""
        return int(self._pooled(torch.zeros(self._patch_shape())).size)

    def embed(self, case: Preprocessed) -> FloatArray:
        """One vector of a case, float32, shape (E,).

        Args:
            case: A case as the network sees it; of a cascade with the mask of the first stage.
        """
        image = shown(case)
        patch = self._plan.window.patch_size
        grid = [_spread(size, patch[axis]) for axis, size in enumerate(image.shape[1:])]
        starts = list(product(*grid))
        kept = [starts[n] for n in _evenly(len(starts), MOST_WINDOWS)]
        vectors = [self._pooled(self._as_seen(cut(image, (i, j, k), patch))) for i, j, k in kept]
        return np.asarray(np.mean(vectors, axis=0), np.float32)

    def _as_seen(self, window: FloatArray) -> Tensor:
        """A batch of one window; a mask becomes a channel for each structure."""
        batch = np.ascontiguousarray(window[np.newaxis], np.float32)
        if self._dims == 2:
            batch = batch[..., 0]
        count = self._plan.mask_channels
        if count:
            masks = np.moveaxis(mask_channels(batch[:, -1].astype(np.int64), count), 0, 1)
            batch = np.concatenate([batch[:, :-1], masks], axis=1)
        return torch.from_numpy(np.ascontiguousarray(batch, np.float32))

    def _patch_shape(self) -> tuple[int, ...]:
        patch = self._plan.window.patch_size[: self._dims]
        return (1, self._plan.network.in_channels, *patch)

    def _pooled(self, batch: Tensor) -> FloatArray:
        kept: list[Tensor] = []
        hook = self._end.register_forward_hook(lambda module, given, result: kept.append(result))
        try:
            self._run(batch)
        finally:
            hook.remove()
        return pooled(kept[-1].float().cpu().numpy()[0])

    def _run(self, batch: Tensor) -> None:
        with torch.inference_mode(), computing_in("fp32", self._device):
            self._network.features(batch.to(self._device))

    def _deepest(self) -> nn.Module:
        """The last convolution with the smallest feature maps; without any, the last module."""
        sizes: list[tuple[nn.Module, int]] = []

        def note(module: nn.Module, given: Any, result: Any) -> None:
            if isinstance(result, Tensor) and result.ndim == self._dims + 2:
                positions = int(np.prod(result.shape[2:]))
                if positions >= FEWEST_POSITIONS:
                    sizes.append((module, positions))

        hooks = [module.register_forward_hook(note) for module in self._network.modules()]
        try:
            self._run(torch.zeros(self._patch_shape()))
        finally:
            for hook in hooks:
                hook.remove()
        found = [(module, n) for module, n in sizes if _is_convolution(module)] or sizes
        fewest = min(positions for _, positions in found)
        return next(module for module, positions in reversed(found) if positions == fewest)


def pooled(features: FloatArray) -> FloatArray:
    """Feature maps as one vector.

    Args:
        features: Shape (C, *grid).

    Returns:
        Means, deviations, and for each axis of the grid upper less lower half: float64, shape
        (C * (2 + axes),); 0 along an axis of one position.
    """
    values = np.asarray(features, np.float64)
    grid = tuple(range(1, values.ndim))
    parts = [values.mean(grid), values.std(grid)]
    for axis in grid:
        half = values.shape[axis] // 2
        if half == 0:
            parts.append(np.zeros(len(values)))
            continue
        lower = np.take(values, range(half), axis).mean(grid)
        upper = np.take(values, range(values.shape[axis] - half, values.shape[axis]), axis)
        parts.append(upper.mean(grid) - lower)
    return np.concatenate(parts)


def _is_convolution(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 4


def _spread(size: int, patch: int) -> Sequence[int]:
    """Starts of windows side by side, from one end to the other; centred where one is enough."""
    count = -(-size // patch)
    if count == 1:
        return [(size - patch) // 2]
    return [round(n * (size - patch) / (count - 1)) for n in range(count)]


def _evenly(count: int, most: int) -> Sequence[int]:
    if count <= most:
        return range(count)
    return [round(n * (count - 1) / (most - 1)) for n in range(most)]
