"""Torch as an engine, on a CPU or a GPU, and what it computes with there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from medseg.errors import MissingDependency
from medseg.inference.engine import (
    GPU_BATCH_VOXELS,
    PART_VALUES,
    Activation,
    Device,
    Engine,
    Part,
    Precision,
)
from medseg.inference.onednn import onednn_always
from medseg.networks.layers import resized
from medseg.networks.network import Network
from medseg.types import FloatArray

PROBE_GAIN = 1.2
"""How many times faster bf16 must be on a CPU before it is taken."""

PROBE_TOLERANCE = 0.02
"""Largest change of any probability that bf16 may make on a CPU."""

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine(Engine):
    """A torch network in eval mode.

    Args:
        network: It is taken over: moved to `device` and switched to eval mode.
        device: Where it runs.
        precision: "auto" is bf16 (fp16 on older cards) on a GPU. On a CPU it is fp32, unless the
            CPU has matrix tiles (AMX) and a probe at the first batch finds bf16 at least
            `PROBE_GAIN` times as fast and no probability (of a patch's middle plane) changed by
            more than `PROBE_TOLERANCE`; without tiles bf16 convolutions are slower than fp32.
        activation: What makes probabilities of its logits, for that probe.

    Raises:
        MissingDependency: If a GPU is asked for and there is none.
    """

    name = "torch"

    def __init__(
        self,
        network: Network,
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        activation: Activation = "softmax",
    ) -> None:
        self._activation: Activation = activation
        self.device = choose_device(device)
        self.network = network.to(self.device).eval()
        self.gate_names = network.gate_names
        if self.device.type == "cuda":
            self.batch_voxels = GPU_BATCH_VOXELS
        self._probe = False
        if precision == "auto" and self.device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        elif precision == "auto":
            self._probe = torch.cpu._is_amx_tile_supported()
            precision = "fp32"
        self.precision: str = precision

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        return np.concatenate([part.values for part in self.parts(batch)], axis=2)

    def parts(self, batch: FloatArray) -> Iterator[Part]:
        """Logits of a batch, slab by slab; the features under them are computed once."""
        image = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).to(self.device)
        if self._probe:
            self._probe = False
            self.precision = faster_precision(self.network, image, self._activation)
        features = self._compute(self.network.features, image)
        planes, done = 1, 0
        while done < features.shape[2]:
            logits = self._compute(self.network.head, features[:, :, done : done + planes])
            yield Part(done, logits.float().cpu().contiguous().numpy())
            done += planes
            planes = max(1, PART_VALUES // (logits.numel() // logits.shape[2]))

    def attention(self, batch: FloatArray) -> FloatArray:
        """What the gates let through; see `Engine.attention`."""
        image = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).to(self.device)
        with torch.inference_mode(), computing_in(self.precision, self.device):
            maps = self.network.attention(image)
        raised = [resized(one.float(), image.shape[2:], align_corners=False) for one in maps]
        return np.concatenate([one.cpu().numpy() for one in raised], axis=1)

    def _compute(self, stage: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        with torch.inference_mode(), computing_in(self.precision, self.device):
            return stage(given)


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


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Convolutions inside the block compute in this precision."""
    if precision == "fp32":
        with onednn_always(device):
            yield
        return
    with torch.autocast(device.type, dtype=_TYPES[precision]):
        yield


def faster_precision(network: Network, image: Tensor, activation: Activation = "softmax") -> str:
    """Measure one patch on this CPU in fp32 and bf16.

    Args:
        network: In eval mode.
        image: A batch; its first patch is run four times, and its middle plane compared.
        activation: What makes probabilities of logits.

    Returns:
        "bf16" if it is faster and agrees (see `TorchEngine`), else "fp32".
    """
    seconds, probabilities = {}, {}
    for precision in ("fp32", "bf16"):
        with torch.inference_mode(), computing_in(precision, image.device):
            network.features(image[:1])
            start = time.perf_counter()
            features = network.features(image[:1])
            seconds[precision] = time.perf_counter() - start
            middle = features[:, :, features.shape[2] // 2, None]
            logits = network.head(middle).float()
            sigmoid = activation == "sigmoid"
            probabilities[precision] = logits.sigmoid() if sigmoid else logits.softmax(1)
    changed = float((probabilities["fp32"] - probabilities["bf16"]).abs().max())
    wins = seconds["fp32"] >= PROBE_GAIN * seconds["bf16"] and changed <= PROBE_TOLERANCE
    return "bf16" if wins else "fp32"
