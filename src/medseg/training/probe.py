"""What this machine can do: a few timed convolutions before a plan, a few steps of its network."""

import contextlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import psutil
import torch
from torch import nn

from medseg.dataset.plan import Plan
from medseg.errors import MissingDependency, TrainingError
from medseg.inference.machine import processor_name
from medseg.losses import build_loss
from medseg.networks.build import build
from medseg.specs import LossSpec, NetworkSpec, RecipeSpec
from medseg.training.module import Precision, build_optimizer, is_out_of_memory
from medseg.training.pace import StepSeconds, two_digits
from medseg.training.thin import has_thin_convolutions
from medseg.types import GridSize

Device = Literal["cpu", "cuda"]

_DTYPES: dict[Precision, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

LEAST_GAIN = 1.1
"""How many times faster a step in bf16 must be to be chosen on a CPU."""

_WIDTH, _GRID = 32, (32, 32, 32)
_REPEATS, _MOST_REPEATS, _ENOUGH_SECONDS = 3, 10, 0.5
"""How often something is timed: short things more often, until it took so long."""

_LONG_SECONDS = 5.0
"""What takes longer than this is timed once."""

_LARGEST_LOAD = 2.0
"""Other programs count as if they made this one so many times slower at most: who blocks the
processor for the second of a probe rarely does so for the whole training."""

_SAMPLES = 2
"""Samples of a batch that are timed on a CPU, where a larger batch takes longer in proportion."""
_MEMORY_SHARE = 0.6
"""Share of the free memory that a training step may take."""


class Machine(NamedTuple):
    """What planning needs to know of a machine.

    Attributes:
        device: Where to train.
        name: What the processor or graphics card is called.
        cores: Processor cores that this process may use.
        memory_bytes: Memory that a step may take.
        gflops: Speed of a convolution, forward and backward, in the faster arithmetic; two digits,
            so that plans do not change with noise.
    """

    device: Device
    name: str
    cores: int
    memory_bytes: int
    gflops: float


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """A GPU where there is one, unless told otherwise.

    Raises:
        MissingDependency: If a GPU is wanted and torch sees none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise MissingDependency(
            "Training on a GPU needs a CUDA device and a torch that was built for it.",
            received=f"torch {torch.__version__} sees none",
            cure="Leave --device out to train on the CPU.",
        )
    return "cuda" if there and wanted != "cpu" else "cpu"


def usable_cores() -> int:
    """Cores that this process may use and torch will use."""
    with contextlib.suppress(AttributeError):
        return min(len(os.sched_getaffinity(0)), torch.get_num_threads())
    return torch.get_num_threads()


def probe_machine(device: Device) -> Machine:
    """Time a 3x3x3 convolution of 32 channels; about a second."""
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        memory, name = int(free * 0.9), torch.cuda.get_device_name()
    else:
        memory, name = int(psutil.virtual_memory().available * _MEMORY_SHARE), processor_name()
    convolution = nn.Conv3d(_WIDTH, _WIDTH, 3, padding=1).to(device)
    image = torch.randn(2, _WIDTH, *_GRID, device=device)

    def step(dtype: torch.dtype | None) -> None:
        with _autocast(device, dtype):
            outputs = convolution(image)
        torch.autograd.backward(outputs.float().square().mean())
        convolution.zero_grad()

    seconds = min(
        _time(lambda dtype=dtype: step(dtype), device)  # type: ignore[misc]
        for dtype in (None, torch.bfloat16)
    )
    # Forward and the gradient of the weights; the image itself needs none.
    flop = 2 * 2 * image.numel() * _WIDTH * 27
    return Machine(device, name, usable_cores(), memory, two_digits(flop / seconds / 1e9))


def choose_precision(
    plan: Plan, device: Device, wanted: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
) -> tuple[Precision, str]:
    """The arithmetic of the training, and why, as one sentence.

    On a GPU it is bf16, or fp16 where the card has none. On a CPU the planned network takes a few
    steps in both, and bf16 must be `LEAST_GAIN` times faster: many CPUs only emulate it. Where it
    would compute wrong gradients (`medseg.training.thin`), it is fp32.

    Raises:
        TrainingError: If fp16 is wanted on a CPU, or bf16 where its gradients would be wrong.
    """
    if wanted == "fp16" and device == "cpu":
        raise TrainingError(
            "fp16 training needs a GPU.", received="a CPU", cure="Use --precision bf16 or fp32."
        )
    is_thin = device == "cpu" and wanted in ("auto", "bf16") and has_thin_convolutions(plan)
    if is_thin and wanted == "bf16":
        raise TrainingError(
            "On a CPU, bf16 gives wrong gradients where an image inside the network is thinner "
            "than a kernel along the first axis.",
            received=f"--precision bf16 for patches of {' x '.join(map(str, plan.patch_size))}",
            cure="Use --precision fp32 or auto.",
        )
    if wanted != "auto":
        return wanted, "as asked for"
    if is_thin:
        return "fp32", "its deepest images are thin, where bf16 on a CPU gives wrong gradients"
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "this GPU has it") if native else ("fp16", "this GPU has no bf16")
    full, half = _step_seconds(plan, None), _step_seconds(plan, torch.bfloat16)
    gain = full / half
    why = f"a step in bf16 is {gain:.2f} times as fast as in fp32 on this CPU"
    return ("bf16" if gain >= LEAST_GAIN else "fp32"), why


def take_step(
    plan: Plan, device: Device, wanted: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
) -> StepSeconds | None:
    """Take a few steps of a plan, on made-up images.

    Args:
        plan: The plan.
        device: Where it would train.
        wanted: The arithmetic that was asked for.

    Returns:
        What they took; None if the memory does not hold one.
    """
    try:
        precision, _ = choose_precision(plan, device, wanted)
        network = _step_seconds(plan, _DTYPES[precision], device)
        return StepSeconds(network, _optimizer_seconds(plan.network, plan.recipe, device))
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return None
        raise


def _step_seconds(plan: Plan, dtype: torch.dtype | None, device: Device = "cpu") -> float:
    """Of the network and its loss on a whole batch; measured once in a process."""
    return _network_seconds(
        plan.network,
        plan.patch_size,
        plan.recipe.batch_size,
        plan.loss,
        plan.region_classes,
        plan.ignored_class,
        dtype,
        device,
    )


@lru_cache(maxsize=32)
def _network_seconds(
    spec: NetworkSpec,
    patch_size: GridSize,
    batch_size: int,
    loss_spec: LossSpec,
    regions: tuple[tuple[int, ...], ...],
    ignored: int | None,
    dtype: torch.dtype | None,
    device: Device,
) -> float:
    network = build(spec).to(device)
    loss = build_loss(loss_spec, regions=regions, ignored=ignored).to(device)
    samples = batch_size if device == "cuda" else min(batch_size, _SAMPLES)
    grid = patch_size[: spec.dims]
    image = torch.randn(samples, spec.in_channels, *grid, device=device)
    labels = torch.zeros(samples, *grid, dtype=torch.int64, device=device)

    def step() -> None:
        with _autocast(device, dtype):
            outputs = network(image)
        torch.autograd.backward(loss(outputs, labels))
        network.zero_grad()

    return _time(step, device) * batch_size / samples


@lru_cache(maxsize=32)
def _optimizer_seconds(spec: NetworkSpec, recipe: RecipeSpec, device: Device) -> float:
    network = build(spec).to(device)
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer = build_optimizer(network, recipe, scaled=False)

    def step() -> None:
        optimizer.step()

    return _time(step, device)


def _time(step: Callable[[], None], device: Device) -> float:
    """Least seconds of a few repeats, after one that warms up."""
    begin, seconds = time.perf_counter(), [_once(step, device)]
    if seconds[0] > _LONG_SECONDS:
        return seconds[0]
    while len(seconds) <= _REPEATS or (
        len(seconds) <= _MOST_REPEATS and time.perf_counter() - begin < _ENOUGH_SECONDS
    ):
        seconds.append(_once(step, device))
    return min(seconds[1:])


def _once(step: Callable[[], None], device: Device) -> float:
    """Seconds of a step; on a CPU at most `_LARGEST_LOAD` times those of this thread at work."""
    _wait_for(device)
    wall, busy = time.perf_counter(), time.thread_time()
    step()
    _wait_for(device)
    wall, busy = time.perf_counter() - wall, time.thread_time() - busy
    return wall if device == "cuda" else min(wall, _LARGEST_LOAD * busy)


def _wait_for(device: Device) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _autocast(device: Device, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
