# mypy: disable-error-code="no-untyped-call"
"""Convolutions whose weight gradients a CPU computes wrongly in bf16.

oneDNN, as torch 2.13 brings it, leaves part of the gradient of a 3D convolution's weights
unwritten where the image is thinner along its first axis than the kernel, and thicker than one
voxel: what was in memory before becomes the gradient. fp32 is right, and so are other devices.
`bench/bf16_gradients.py` finds the shapes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medseg.dataset.plan import Plan
from medseg.networks.build import build


class _Convolutions(TorchDispatchMode):
    """Looks at every convolution that runs, whoever calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.thin: bool = False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.thin |= is_thin(args[0], args[1])
        return func(*args, **(kwargs or {}))


def is_thin(image: Tensor, weight: Tensor) -> bool:
    """Whether the gradient of these weights would be wrong in bf16 on a CPU.

    Args:
        image: Shape (B, C, I, J, K); of a 2D convolution it is never thin.
        weight: Shape (N, C, i, j, k); a depthwise one is computed otherwise, and rightly.
    """
    return bool(image.ndim == 5 and weight.shape[1] > 1 and 1 < image.shape[2] < weight.shape[2])


def has_thin_convolutions(plan: Plan) -> bool:
    """Whether the planned network has such a convolution at the planned patch."""
    network = build(plan.network)
    image = torch.zeros(1, plan.network.in_channels, *plan.patch_size[: plan.network.dims])
    seen = _Convolutions()
    with torch.no_grad(), seen:
        network.eval()(image)
    return seen.thin
