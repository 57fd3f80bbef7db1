"""What makes `lite` fast: its parts against others, in training and at prediction, on this CPU.

1. A patch of 40x56x40 and an image of 512x512, one thread. Each row is `lite` with one thing
   changed; `plain_unet` is as wide as a budget of minutes gives it. Blocks are compared as they
   are at prediction, with the normalisation folded into the weights (branches are then a single
   convolution), and by a training step of two patches. Torch's own choice of loops stands beside
   what `medseg predict` does (medseg/inference/onednn.py).
2. Frames of 512x512 a second with all threads, by wall time.
3. The same network in ONNX Runtime and OpenVINO, where they are installed.

Times of 1 are CPU milliseconds, medians of passes that take turns.

    python bench/lite.py
"""

import argparse
import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from medseg.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from medseg.dataset.cost import gmacs, parameter_count  # noqa: E402
from medseg.dataset.scaling import lite  # noqa: E402
from medseg.dataset.topology import Topology, plain_unet, topology  # noqa: E402
from medseg.inference.onednn import onednn_always  # noqa: E402
from medseg.losses import build_loss  # noqa: E402
from medseg.networks import Network, build  # noqa: E402
from medseg.networks.layers import LAYERS  # noqa: E402
from medseg.networks.lite import ConvNormReLU  # noqa: E402
from medseg.specs import LiteSpec, LossSpec  # noqa: E402
from medseg.training.probe import processor_name  # noqa: E402

GRIDS = {3: (40, 56, 40), 2: (512, 512)}
CPU = torch.device("cpu")
Block = Callable[[nn.Module], nn.Module]
"""Makes another block of the shape of a `ConvNormReLU`."""


class Separable(nn.Sequential):
    """A depthwise and a 1x1 convolution, each with normalisation and ReLU."""

    def __init__(self, block: ConvNormReLU) -> None:
        conv, layers = block.conv, LAYERS[block.conv.weight.ndim - 2]
        before, width = conv.in_channels, conv.out_channels
        alone = layers.conv(
            before, before, conv.kernel_size, conv.stride, conv.padding, groups=before, bias=False
        )
        super().__init__(
            alone, layers.batch_norm(before), nn.ReLU(inplace=True),
            layers.conv(before, width, 1, bias=False), layers.batch_norm(width),
            nn.ReLU(inplace=True),
        )  # fmt: skip


class Branches(nn.Module):
    """RepVGG's block: the convolution, a 1x1 and the input itself, each normalised, in one sum."""

    def __init__(self, block: ConvNormReLU) -> None:
        super().__init__()
        conv, layers = block.conv, LAYERS[block.conv.weight.ndim - 2]
        before, width = conv.in_channels, conv.out_channels
        self.conv, self.norm = conv, block.norm
        self.point = nn.Sequential(
            layers.conv(before, width, 1, conv.stride, bias=False), layers.batch_norm(width)
        )
        keeps = before == width and max(conv.stride) == 1
        self.same = layers.batch_norm(width) if keeps else None

    def forward(self, image: Tensor) -> Tensor:
        """The sum of the branches, through a ReLU."""
        out = self.norm(self.conv(image)) + self.point(image)
        return (out if self.same is None else out + self.same(image)).relu_()


def with_blocks(network: nn.Module, block: Block) -> nn.Module:
    """The network with every `ConvNormReLU` but that of the image replaced."""
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, ConvNormReLU) and child.conv.in_channels > 1:
                setattr(part, name, block(child))
    return network


def folded(network: nn.Module) -> nn.Module:
    """A copy as it predicts: without normalisation in front of a ReLU."""
    if isinstance(network, Network):
        network = network.deployed()
    for part in network.modules():
        if isinstance(part, Separable):
            for n in (0, 3):
                part[n] = nn.utils.fuse_conv_bn_eval(part[n], part[n + 1])
                part[n + 1] = nn.Identity()
    return network


def candidates(dims: int) -> Iterator[tuple[str, LiteSpec | None, nn.Module, nn.Module]]:
    """Name, settings, the network as it learns, and as it predicts."""
    shape: Topology = topology((1.0,) * dims, GRIDS[dims])
    plain = plain_unet(shape, base=16, in_channels=1, classes=3)
    yield "plain_unet, width 16", plain, build(plain), build(plain).eval()
    own = lite(shape, base=32, in_channels=1, classes=3)
    yield "**lite**", own, build(own), build(own).deployed()
    wide = tuple(2 * width for width in own.features)
    twice = tuple(2 for _ in own.encoder_convs)
    changes = {
        "branches that are added up": (own, Branches),
        "depthwise-separable": (own, Separable),
        "the same, twice as wide": (own.model_copy(update={"features": wide}), Separable),
        "half as wide": (lite(shape, base=8, in_channels=1, classes=3), None),
        "two convolutions at its finest stage": (
            own.model_copy(update={"encoder_convs": twice}),
            None,
        ),
    }
    for name, (spec, block) in changes.items():
        learns = with_blocks(build(spec), block) if block else build(spec)
        predicts = build(spec) if block is not Separable else with_blocks(build(spec), block)
        yield name, spec, learns, folded(predicts.eval())


def cpu_ms(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU time of each, which take turns; a first round does not count."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for n in range(rounds + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            if n:
                took[name].append(1e3 * (time.process_time() - begin))
    return {name: median(times) for name, times in took.items()}


def forward(network: nn.Module, image: Tensor, *, always: bool) -> Callable[[], object]:
    def run() -> None:
        with torch.inference_mode(), onednn_always(CPU) if always else nullcontext():
            network(image)

    return run


def step(network: nn.Module, image: Tensor, labels: Tensor) -> Callable[[], object]:
    loss = build_loss(LossSpec())

    def run() -> None:
        loss(network.train()(image), labels).backward()
        for weight in network.parameters():
            weight.grad = None

    return run


def compare(dims: int, rounds: int) -> None:
    """The first table."""
    torch.set_num_threads(1)
    grid, found = GRIDS[dims], list(candidates(dims))
    image, pair = torch.randn(1, 1, *grid), torch.randn(2, 1, *grid)
    labels = torch.randint(0, 3, (2, *grid))
    own = cpu_ms({n: forward(p, image, always=False) for n, _, _, p in found}, rounds)
    always = cpu_ms({n: forward(p, image, always=True) for n, _, _, p in found}, rounds)
    steps = cpu_ms(
        {n: step(learns, pair, labels) for n, _, learns, _ in found}, max(2, rounds // 3)
    )
    reference = found[0][0]
    print(f"\n{'x'.join(map(str, grid))}, one thread, CPU ms\n")
    names = ("network", "weights", "GMACs", "training step", "torch alone", "as predicted", "ratio")
    print(f"| {' | '.join(names)} |\n|---{'|--:' * (len(names) - 1)}|")
    for name, spec, learns, _ in found:
        weights = sum(weight.numel() for weight in learns.parameters())
        counted = f"{gmacs(spec, grid):.2f}" if weights == parameter_count(spec) else "-"
        print(
            f"| {name} | {weights:,} | {counted} | {steps[name]:.0f} | {own[name]:.1f} "
            f"| {always[name]:.1f} | {always[reference] / always[name]:.2f}x |"
        )


def frames(threads: int, rounds: int) -> None:
    """Images of 512x512 a second."""
    torch.set_num_threads(threads)
    image = torch.randn(1, 1, *GRIDS[2])
    spec = lite(topology((1.0, 1.0), GRIDS[2]), base=32, in_channels=1, classes=3)
    run = forward(build(spec).deployed(), image, always=True)
    print(f"\n512x512, torch, {threads} thread(s): {_frames(run, rounds)}")


def _frames(run: Callable[[], object], rounds: int) -> str:
    """Frames a second by wall time, and by the CPU time that they took."""
    run()
    wall, busy = [], []
    for _ in range(rounds):
        begin, cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - begin)
        busy.append(time.process_time() - cpu)
    return (
        f"median {1 / median(wall):.1f} frames/s, best {1 / min(wall):.1f}; "
        f"{1e3 * median(busy):.1f} CPU ms each"
    )


def engines(threads: int, rounds: int) -> None:
    """The 2D and the 3D network in other runtimes, for information."""
    for dims, grid in GRIDS.items():
        spec = lite(topology((1.0,) * dims, grid), base=32, in_channels=1, classes=3)
        network = build(spec).deployed().to(memory_format=torch.contiguous_format)
        image = torch.randn(1, 1, *grid)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lite.onnx"
            torch.onnx.export(network, (image,), path, dynamo=True, verbose=False)
            for name, run in _runtimes(path, image.numpy(), threads):
                print(f"{'x'.join(map(str, grid))}, {name}, {threads} thread(s): "
                      f"{_frames(run, rounds)}")  # fmt: skip


def _runtimes(
    path: Path, image: np.ndarray, threads: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        yield "ONNX Runtime", lambda: session.run(None, {name: image})
    if importlib.util.find_spec("openvino"):
        import openvino

        model = openvino.Core().compile_model(
            path, "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        )
        yield "OpenVINO", lambda: model([image])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for frames")
    options = parser.parse_args(arguments)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )
    for dims in GRIDS:
        compare(dims, options.rounds)
    frames(options.threads, 3 * options.rounds)
    if importlib.util.find_spec("onnx"):
        engines(options.threads, 3 * options.rounds)


if __name__ == "__main__":
    main()
