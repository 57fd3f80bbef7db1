"""Convolutions that compute in float with the numbers that INT8 would have.

One network serves three ends: it shows what quantisation will cost, it is trained so that it costs
less, and it is what a quantised engine must agree with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from medseg.compression.grids import Grid, on_weight_grid

Convolution = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d


@dataclass(frozen=True)
class LayerGrids:
    """The grids of one convolution.

    Attributes:
        given: Of what it is given.
        gives: Of what it gives; None where that stays float.
    """

    given: Grid
    gives: Grid | None = None


class FakeQuantised(nn.Module):
    """A convolution between grids; its weights keep their names.

    Args:
        layer: The convolution, whose weights are shared.
        grids: Its grids.
    """

    def __init__(self, layer: Convolution, grids: LayerGrids) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self._grids, self._axis = grids, channel_axis(layer)
        self._convolve = _call(layer)

    def forward(self, image: Tensor) -> Tensor:
        """What the convolution gives for the nearest numbers of the grids."""
        weight = on_weight_grid(self.weight, self._axis)
        out = self._convolve(self._grids.given(image), weight, self.bias)
        return self._grids.gives(out) if self._grids.gives else out


def convolutions(network: nn.Module) -> dict[str, Convolution]:
    """All convolutions that can be quantised, by name, in the order of the modules.

    Weights that several layers share, and padding other than by zeros, are left alone.
    """
    found = {
        name: module
        for name, module in network.named_modules()
        if type(module) in (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    }
    uses = [id(module.weight) for module in found.values()]
    return {
        name: module
        for name, module in found.items()
        if isinstance(module, Convolution)
        and uses.count(id(module.weight)) == 1
        and module.padding_mode == "zeros"
    }


def fake_quantise(network: nn.Module, grids: Mapping[str, LayerGrids]) -> None:
    """Put convolutions of a network between grids, in place; weights keep their names.

    Args:
        network: It is changed.
        grids: Those of each convolution that shall be quantised, by its name.
    """
    layers = convolutions(network)
    for name, of_layer in grids.items():
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, FakeQuantised(layers[name], of_layer))


def channel_axis(layer: Convolution) -> int:
    """The axis of the output channels in a convolution's weights."""
    return 1 if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d) else 0


def _call(layer: Convolution) -> "partial[Tensor]":
    """The function of a convolution, with all but image, weight and bias."""
    match layer:
        case nn.Conv2d():
            function: Callable[..., Tensor] = F.conv2d
        case nn.Conv3d():
            function = F.conv3d
        case nn.ConvTranspose2d():
            function = F.conv_transpose2d
        case nn.ConvTranspose3d():
            function = F.conv_transpose3d
    facts = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }
    if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
        facts["output_padding"] = layer.output_padding
    return partial(function, **facts)
