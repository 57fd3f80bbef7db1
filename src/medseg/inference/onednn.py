"""Convolutions of a single patch on a CPU, by oneDNN also where torch would take a slower loop.

Torch keeps a float32 convolution for a loop of its own if there is one sample, no groups, a kernel
of edges up to 3, and at most 20,480 values in the channels and the first two spatial axes
(`use_mkldnn` in aten/src/ATen/native/Convolution.cpp, torch 2.13). In 3D the third axis is not
counted, so most convolutions of a usual patch are slower than they need be; bench/lite.py measures
by how much.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def onednn_always(device: torch.device) -> AbstractContextManager[object]:
    """A block in which convolutions of a single sample are oneDNN's, where torch has it.

    Args:
        device: Where the block computes; nothing changes on a GPU.
    """
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return _OneDnnAlways()
    return nullcontext()


class _OneDnnAlways(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call oneDNN for a convolution that torch would not give to it, else what was called."""
        if func in (F.conv2d, F.conv3d) and not kwargs and _is_left_to_torch(*args):
            image, weight, bias, stride, padding, dilation, groups = args
            return torch.mkldnn_convolution(image, weight, bias, padding, stride, dilation, groups)
        return func(*args, **(kwargs or {}))


def _is_left_to_torch(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int | str = 0,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> bool:
    """Whether this is a call of a layer that keeps its loop from oneDNN for its size alone."""
    return (
        isinstance(padding, tuple)
        and isinstance(stride, tuple)
        and groups == 1
        and image.shape[0] == 1
        and image.dtype == weight.dtype == torch.float32
        and max(weight.shape[2:]) > 1
        and prod(image.shape[:4]) <= 20_480
    )
