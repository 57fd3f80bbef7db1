"""From patches to grids: what convolutions are given, and which of them must stay float."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.compression.fake import LayerGrids, convolutions, fake_quantise
from medseg.compression.grids import Grid, Seen, affine_grid, grid_of
from medseg.inference.exported import EngineKind
from medseg.networks.network import Network
from medseg.progress import SILENT, Progress
from medseg.types import FloatArray

KEPT_BELOW_DB = 25.0
"""A layer stays float if it alone, in INT8, leaves the logits less than so far above its noise."""

_SAMPLE = 8192
"""Values of a tensor that are kept of each patch."""

_PROBED, _PROBED_VALUES = 2, 1 << 20
"""Patches that sensitivity is measured on; one of them where they have so many values."""

NONE: Mapping[str, str] = MappingProxyType({})

FIRST, LAST = "it sees the image itself", "it gives the logits"
"""Why the first and the last layer stay float."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What quantising a network means.

    Attributes:
        grids: Those of each convolution that becomes INT8, by its name.
        kept: Convolutions that stay float, each with the reason.
        patches: How many patches were seen.
    """

    grids: Mapping[str, LayerGrids]
    kept: Mapping[str, str]
    patches: int


def calibrated(
    network: Network,
    patches: Sequence[FloatArray],
    shared: Iterable[frozenset[str]],
    *,
    target: EngineKind,
    barred: Mapping[str, str] = NONE,
    kept: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Calibration:
    """Choose grids by what patches show.

    Args:
        network: As `Network.deployed` gives it, on the CPU; it is left as it is.
        patches: What it will be shown, each of shape (B, C, *patch).
        shared: Sets of convolutions that must be given numbers of one grid; only these may become
            INT8.
        target: The runtime, which decides what integers may be like: see `_grid_for`. Of ONNX
            Runtime, what convolutions give gets a grid too.
        barred: Layers that must stay float, with the reason.
        kept: All layers that stay float, with the reason; None lets the patches decide about those
            that are not barred.
        progress: Told of each layer whose sensitivity is measured.
    """
    groups = [group & set(convolutions(network)) for group in shared]
    names = [name for name in convolutions(network) if any(name in group for group in groups)]
    given, gives = _watched(network, patches, names)
    grids: dict[str, LayerGrids] = {}
    for group in groups:
        if group:
            of_group = _grid_for(target, Seen.together(given[name] for name in group))
            grids |= {name: LayerGrids(of_group) for name in group}
    grids = {name: grids[name] for name in names}
    if kept is None:
        may = {name: one for name, one in grids.items() if name not in barred}
        harm = sensitive(network, patches, may, progress=progress)
        kept = {**_outermost(names, given), **harm, **barred}
    if target == "onnx":
        layers = convolutions(network)
        grids = {
            name: replace(one, gives=affine_grid(gives[name]))
            if isinstance(layers[name], nn.Conv2d | nn.Conv3d)
            else one
            for name, one in grids.items()
        }
    chosen = {name: one for name, one in grids.items() if name not in kept}
    return Calibration(chosen, dict(kept), sum(len(batch) for batch in patches))


def sensitive(
    network: Network,
    patches: Sequence[FloatArray],
    grids: Mapping[str, LayerGrids],
    *,
    progress: Progress = SILENT,
) -> dict[str, str]:
    """Layers whose quantisation alone does the logits more harm than `KEPT_BELOW_DB` allows.

    Args:
        network: In eval mode, on the CPU; it is left as it is.
        patches: What it will be shown.
        grids: Those that each layer would get.
        progress: Told of each layer.

    Returns:
        Their names, each with the reason.
    """
    few = bool(patches) and patches[0].size > _PROBED_VALUES
    probed = [torch.from_numpy(batch) for batch in patches[: 1 if few else _PROBED]]
    found: dict[str, str] = {}
    with torch.inference_mode(), progress.task("Sensitivity of layers", len(grids)) as task:
        exact = [network(batch) for batch in probed]
        power = sum(float(one.square().sum()) for one in exact)
        for name, one in grids.items():
            changed = deepcopy(network)
            fake_quantise(changed, {name: one})
            noise = sum(
                float((changed(batch) - logits).square().sum())
                for batch, logits in zip(probed, exact, strict=True)
            )
            ratio_db = 10 * np.log10(power / max(noise, 1e-30))
            if ratio_db < KEPT_BELOW_DB:
                found[name] = f"alone it leaves the logits {ratio_db:.0f} dB above its noise"
            task.advance()
    return found


def _grid_for(target: EngineKind, seen: Seen) -> Grid:
    """Integers as a runtime wants them: its fastest kernels take no others."""
    match target:
        case "openvino":
            return grid_of(seen)
        case "onnx" | "compiled":
            return affine_grid(seen)
        case "tensorrt":
            return grid_of(seen, symmetric=True)


def _outermost(names: Sequence[str], given: Mapping[str, Seen]) -> dict[str, str]:
    """The first and the last of the layers, in the order they ran."""
    order = [name for name in given if name in names]
    return {order[0]: FIRST, order[-1]: LAST} if order else {}


def _watched(
    network: Network, patches: Sequence[FloatArray], names: Sequence[str]
) -> tuple[dict[str, Seen], dict[str, Seen]]:
    """What layers are given and what they give, in the order they run."""
    generator = torch.Generator().manual_seed(0)
    given: dict[str, list[Seen]] = {}
    gives: dict[str, list[Seen]] = {}

    def watch(name: str) -> Any:
        def see(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            given.setdefault(name, []).append(_seen(inputs[0], generator))
            gives.setdefault(name, []).append(_seen(output, generator))

        return see

    layers = convolutions(network)
    hooks = [layers[name].register_forward_hook(watch(name)) for name in names]
    try:
        with torch.inference_mode():
            for batch in patches:
                network(torch.from_numpy(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return (
        {name: Seen.together(parts) for name, parts in given.items()},
        {name: Seen.together(parts) for name, parts in gives.items()},
    )


def _seen(values: Tensor, generator: torch.Generator) -> Seen:
    flat = values.detach().flatten()
    chosen = torch.randint(flat.numel(), (min(_SAMPLE, flat.numel()),), generator=generator)
    return Seen(float(flat.min()), float(flat.max()), flat[chosen].float().numpy())
