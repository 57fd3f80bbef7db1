"""Where does the difference between INT8 and float come from, and what could make it smaller?

Convolutions of one network compute with the numbers that INT8 would have, or with a part of what
INT8 does to them: weights alone, activations alone, and of these what is cut off above, what is cut
off below, and rounding. Then ways that lose less: zero points, and a scale for each channel of each
patch, which no runtime computes in INT8. Told are the signal-to-noise ratio of the logits, and the
share of the voxels of structures whose class differs, on patches of a scan.

    python bench/int8_noise.py BUNDLE DATASET [--scan FILE] [--patches 24]
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.bundle import build_members, load_bundle
from medseg.compression.calibrate import calibrated
from medseg.compression.fake import FakeQuantised, LayerGrids, convolutions
from medseg.compression.graph import onnx_graph
from medseg.compression.grids import Grid, on_weight_grid
from medseg.compression.patches import TrialData, real_patches
from medseg.compression.qdq import barred, shared_inputs
from medseg.dataset.importers import open_dataset
from medseg.inference.configured import Configured, shown
from medseg.inference.engines import TorchMaker
from medseg.networks.network import Network
from medseg.types import FloatArray
from medseg.volume.io import read_volume

Change = Callable[[Tensor, Grid], Tensor]


def ends(grid: Grid) -> tuple[float, float]:
    return (grid.lowest - grid.zero) * grid.scale, (grid.highest - grid.zero) * grid.scale


def rounded_only(values: Tensor, grid: Grid) -> Tensor:
    low, high = ends(grid)
    return torch.where((values > low) & (values < high), grid(values), values)


def with_zero_point(values: Tensor, grid: Grid) -> Tensor:
    """The same upper end, and a lower one as low as values are."""
    low, high = min(float(values.min()), 0.0), ends(grid)[1]
    scale = (high - low) / 255
    return torch.round(values.clamp(low, high) / scale) * scale


def each_channel_and_patch(values: Tensor, grid: Grid) -> Tensor:
    axes = tuple(range(2, values.ndim))
    low = values.amin(axes, keepdim=True).clamp(max=0)
    scale = (values.amax(axes, keepdim=True).clamp(min=1e-9) - low) / 255
    return torch.round(values / scale) * scale


CHANGES: dict[str, tuple[bool, Change]] = {
    "INT8": (True, lambda values, grid: grid(values)),
    "weights alone": (True, lambda values, grid: values),
    "activations alone": (False, lambda values, grid: grid(values)),
    "cut off above": (False, lambda values, grid: values.clamp(max=ends(grid)[1])),
    "cut off below": (False, lambda values, grid: values.clamp(min=ends(grid)[0])),
    "rounding": (False, rounded_only),
    "activations with zero points": (False, with_zero_point),
    "activations, a scale for each channel and patch": (False, each_channel_and_patch),
}
"""Whether weights are those of INT8, and what becomes of activations."""


class Partly(FakeQuantised):
    """A convolution with a part of what INT8 does to it."""

    weights: bool
    change: Change

    def forward(self, image: Tensor) -> Tensor:
        """What the convolution gives."""
        weight = on_weight_grid(self.weight, self._axis) if self.weights else self.weight
        return self._convolve(self.change(image, self._grids.given), weight, self.bias)


def changed(
    network: Network, grids: Mapping[str, LayerGrids], weights: bool, change: Change
) -> Network:
    copy = deepcopy(network)
    layers = convolutions(copy)
    for name, grid in grids.items():
        parent, _, own = name.rpartition(".")
        layer = Partly(layers[name], grid)
        layer.weights, layer.change = weights, change
        setattr(copy.get_submodule(parent), own, layer)
    return copy


def cut_from(image: FloatArray, size: Sequence[int], count: int) -> list[Tensor]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        start = [int(rng.integers(n - m + 1)) for n, m in zip(image.shape[1:], size, strict=True)]
        where = tuple(slice(s, s + m) for s, m in zip(start, size, strict=True))
        found.append(torch.from_numpy(np.ascontiguousarray(image[(slice(None), *where)]))[None])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scan", type=Path, help="the data set's own patches by default")
    parser.add_argument("--patches", type=int, default=24)
    chosen = parser.parse_args()
    bundle = load_bundle(chosen.bundle)
    trial, configuration = TrialData(bundle, open_dataset(chosen.data)), bundle.configurations[0]
    network = build_members(configuration)[0]
    seen = real_patches(trial, configuration, 16 + chosen.patches)
    first, rest = seen.batches[:16], [torch.from_numpy(one) for one in seen.batches[16:]]
    model = onnx_graph(network, first[0].shape[1:])
    grids = calibrated(
        network, first, shared_inputs(model), target="openvino", barred=barred(model, "openvino")
    ).grids
    if chosen.scan:
        prepared = Configured(configuration, maker=TorchMaker()).prepared(read_volume(chosen.scan))
        rest = cut_from(shown(prepared), configuration.plan.patch_size, chosen.patches)
    print("| what is done | logits, dB above the noise | voxels that differ |\n|---|--:|--:|")
    with torch.inference_mode():
        exact = [network(patch) for patch in rest]
        for name, (weights, change) in CHANGES.items():
            other = changed(network, grids, weights, change)
            power = noise = differing = there = 0.0
            for patch, logits in zip(rest, exact, strict=True):
                found = other(patch)
                power += float(logits.square().sum())
                noise += float((found - logits).square().sum())
                ours, theirs = logits.argmax(1), found.argmax(1)
                inside = (ours > 0) | (theirs > 0)
                differing += float((ours != theirs)[inside].sum())
                there += float(inside.sum())
            ratio_db = 10 * np.log10(power / max(noise, 1e-30))
            print(f"| {name} | {ratio_db:.1f} | {differing / there:.2%} |", flush=True)


if __name__ == "__main__":
    main()
