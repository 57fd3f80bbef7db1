"""One small interface over whatever runs a network: a batch of patches in, logits out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Literal, Protocol

import numpy as np
import torch
from torch import nn

from medseg.errors import MissingDependency
from medseg.types import FloatArray

Device = Literal["auto", "cpu", "cuda"]
"""Where a network runs; "auto" is a GPU where there is one."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Numbers that convolutions compute with; weights and logits stay float32."""

PROBE_GAIN = 1.2
"""How many times faster bf16 must be on a CPU before it is taken."""

PROBE_TOLERANCE = 0.02
"""Largest change of any probability that bf16 may make on a CPU."""

PART_VALUES = 1 << 22
"""Values of a head's output that are computed at a time (16 MiB)."""

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(Protocol):
    """Runs one member of a bundle. Engines over other runtimes keep this contract.

    Attributes:
        name: "torch" or the name of another runtime, for the record.
        precision: What it computes with, for the record.
    """

    name: str
    precision: str

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch.

        Args:
            batch: Normalised intensities, float32, shape (B, C, *patch).

        Returns:
            Scores before softmax, contiguous float32, shape (B, N, *patch); the caller may
            change them.
        """
        ...


class TorchEngine:
    """A torch module in eval mode.

    Args:
        module: The network. It is taken over: moved to `device`, switched to eval mode, its heads
            computed in parts.
        device: Where it runs.
        precision: "auto" is bf16 (fp16 on older cards) on a GPU. On a CPU it is fp32, unless the
            CPU has matrix tiles (AMX) and a probe at the first batch finds bf16 at least
            `PROBE_GAIN` times as fast and no probability changed by more than `PROBE_TOLERANCE`;
            without tiles bf16 convolutions are slower than fp32.

    Raises:
        MissingDependency: If a GPU is asked for and there is none.
    """

    name = "torch"

    def __init__(
        self, module: nn.Module, *, device: Device = "auto", precision: Precision = "auto"
    ) -> None:
        self.device = choose_device(device)
        self.module = module.to(self.device).eval()
        for part in self.module.modules():
            if isinstance(part, nn.Conv2d | nn.Conv3d) and set(part.kernel_size) == {1}:
                compute_in_parts(part)
        self._probe = False
        if precision == "auto" and self.device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        elif precision == "auto":
            self._probe = torch.cpu._is_amx_tile_supported()
            precision = "fp32"
        self.precision: str = precision

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        image = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).to(self.device)
        if self._probe:
            self._probe = False
            self.precision = faster_precision(self.module, image)
        with torch.inference_mode(), computing_in(self.precision, self.device):
            logits = self.module(image)
        result: FloatArray = logits.float().cpu().contiguous().numpy()
        return result


def choose_device(device: Device) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        MissingDependency: If a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingDependency(
            "Computing on a GPU needs a CUDA device and a torch that was built for it.",
            received="a torch that sees no CUDA device",
            cure="Leave --device out or say --device cpu, or install a CUDA build of torch.",
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def compute_in_parts(head: nn.Conv2d | nn.Conv3d) -> None:
    """Let a convolution of single voxels write its output a slab at a time.

    Computed whole, the output of many classes stands in memory twice, in the layout of the
    arithmetic and in the plain one, and becomes the peak of the whole network.

    Args:
        head: Kernel 1; its forward is replaced, its weights are left alone.
    """
    whole = head.forward

    def forward(image: torch.Tensor) -> torch.Tensor:
        batch, _, length, *rest = image.shape
        slab = max(1, PART_VALUES // (batch * head.out_channels * prod(rest)))
        if slab >= length or head.stride != (1,) * (image.ndim - 2):
            return whole(image)
        size = (batch, head.out_channels, length, *rest)
        logits = torch.empty(size, dtype=torch.float32, device=image.device)
        for start in range(0, length, slab):
            logits[:, :, start : start + slab] = whole(image[:, :, start : start + slab])
        return logits

    head.forward = forward  # type: ignore[method-assign, assignment]


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Convolutions inside the block compute in this precision."""
    if precision == "fp32":
        yield
        return
    with torch.autocast(device.type, dtype=_TYPES[precision]):
        yield


def faster_precision(module: nn.Module, image: torch.Tensor) -> str:
    """Measure one patch on this CPU in fp32 and bf16.

    Args:
        module: The network in eval mode.
        image: A batch; its first patch is run four times.

    Returns:
        "bf16" if it is faster and agrees (see `TorchEngine`), else "fp32".
    """
    seconds, probabilities = {}, {}
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), computing_in(precision, image.device):
            module(image[:1])
            start = time.perf_counter()
            probabilities[precision] = module(image[:1]).float().softmax(1)
            seconds[precision] = time.perf_counter() - start
    changed = float((probabilities["fp32"] - probabilities["bf16"]).abs().max())
    wins = seconds["fp32"] >= PROBE_GAIN * seconds["bf16"] and changed <= PROBE_TOLERANCE
    return "bf16" if wins else "fp32"
