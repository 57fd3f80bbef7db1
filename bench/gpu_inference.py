"""A whole CT from file to mask on a GPU: torch compiled and in half precision, TensorRT, and eager.

A body of noise, 512x512x300 voxels of 0.8x0.8x1.5 mm, is segmented by nnU-Net's 3D network (random
weights, 32 to 320 features, windows of 128^3 that overlap by half, no mirrors). All ways have the
same weights and windows, and read and write alike. The last way needs TensorRT, and is left out
with a word where that is not installed.

First the limits of the card: its fastest matrix products in float32 (with and without TF32), fp16
and bf16, and how fast it copies memory. Then for each way, after a first case that compiles:
seconds from file to mask, ratios to eager float32 and to eager with automatic mixed precision,
which is nnU-Net's way; seconds by stage; what the network reached of the limit of its numbers; the
share of voxels that are as in float32; and the most memory of the card. The goal is 3 times eager
float32, end to end.

    python bench/gpu_inference.py
    python bench/gpu_inference.py --dry      # the same way on a CPU, tiny, in seconds: no figures
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from classes import random_bundle
from medseg.allocator import keep_freed_memory
from medseg.bundle import Bundle, Configuration, build_members, save_bundle
from medseg.compression.export import ExportSettings, export
from medseg.dataset.cost import gmacs
from medseg.errors import MedsegError
from medseg.inference.engine import Engine, Part
from medseg.inference.engines import EngineMaker, TorchMaker, checked
from medseg.inference.predict import Predictor
from medseg.inference.torch_engine import TorchEngine
from medseg.networks.network import Network
from medseg.types import FloatArray, GridSize
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.volume import Volume

GOAL = 3.0
STAGES = ("read", "prepare", "network", "windows and vote", "write")


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        device: "cuda", or "cpu" for a dry run.
        grid: Voxels of the CT.
        spacing_mm: Of the CT.
        patch: Edge of a window in voxels.
        width: Features of the finest stage; they double with each of the four below, up to 320.
        classes: Background included.
        matrix: Edge of the matrices that are multiplied.
        backend: Torch's compiler; "eager" only follows the network and compiles nothing.
    """

    device: str
    grid: GridSize
    spacing_mm: tuple[float, float, float]
    patch: int
    width: int
    classes: int
    matrix: int
    backend: str


WHOLE = Scale("cuda", (512, 512, 300), (0.8, 0.8, 1.5), 128, 32, 15, 8192, "inductor")
DRY = Scale("cpu", (40, 36, 24), (0.8, 0.8, 1.5), 32, 4, 4, 64, "eager")


@dataclass(frozen=True)
class Way:
    """How the network is run.

    Attributes:
        name: For the table.
        numbers: Which limit holds for it: "fp32", "tf32", "fp16" or "bf16".
        maker: Who makes its engines; called when its turn comes, and may raise `MedsegError`.
    """

    name: str
    numbers: str
    maker: Callable[[], EngineMaker]


class Compiled:
    """Networks by torch's compiler: half precision, channels last, and CUDA graphs on a card.

    Args:
        scale: Device and compiler.
        precision: "fp16" or "bf16".
    """

    name = "torch.compile"

    def __init__(self, scale: Scale, precision: Any) -> None:
        self._scale, self.precision = scale, precision

    def __call__(self, configuration: Configuration) -> tuple[Engine, ...]:
        """One engine for each network."""
        return tuple(self._engine(one) for one in build_members(configuration))

    def _engine(self, network: Network) -> Engine:
        scale = self._scale
        network = network.to(memory_format=torch.channels_last_3d)
        plain = network.features
        how: dict[str, Any] = {"mode": "max-autotune"} if scale.backend == "inductor" else {}
        fast = torch.compile(plain, backend=scale.backend, dynamic=False, **how)

        def features(image: torch.Tensor) -> torch.Tensor:
            torch.compiler.cudagraph_mark_step_begin()
            found: torch.Tensor = fast(image.to(memory_format=torch.channels_last_3d))
            return found

        network.features = features  # type: ignore[method-assign]
        device: Any = scale.device
        return TorchEngine(network, device=device, precision=self.precision)


class Timed(Engine):
    """An engine whose time is counted, with all that it does on the card and on the way there."""

    def __init__(self, engine: Engine, device: str) -> None:
        self._engine, self._device = engine, device
        self.name, self.precision, self.gate_names = engine.name, engine.precision, ()
        self.seconds, self.patches = 0.0, 0

    def run(self, batch: FloatArray) -> FloatArray:
        """Logits of a batch; see `Engine.run`."""
        return np.concatenate([part.values for part in self.parts(batch)], axis=2)

    def parts(self, batch: FloatArray) -> Iterator[Part]:
        """Logits of a batch, slab by slab."""
        self.patches += len(batch)
        parts = iter(self._engine.parts(batch))
        while True:
            begin = time.perf_counter()
            part = next(parts, None)
            finish(self._device)
            self.seconds += time.perf_counter() - begin
            if part is None:
                return
            yield part


class TimedMaker:
    """Makes engines whose time is counted, and remembers them."""

    def __init__(self, maker: EngineMaker, device: str) -> None:
        self._maker, self._device = maker, device
        self.name, self.precision = maker.name, maker.precision
        self.made: list[Timed] = []

    def __call__(self, configuration: Configuration) -> tuple[Engine, ...]:
        """One engine for each network."""
        self.made = [Timed(one, self._device) for one in self._maker(configuration)]
        return tuple(self.made)


@dataclass(frozen=True)
class Cost:
    """What a case took.

    Attributes:
        seconds: By stage, as in `STAGES`.
        patches: Windows that the network was shown.
        mask: The values of the mask.
        card_gb: The most memory of the card.
    """

    seconds: dict[str, float]
    patches: int
    mask: Any
    card_gb: float

    @property
    def total(self) -> float:
        """Seconds from file to mask."""
        return sum(self.seconds.values())


def finish(device: str) -> None:
    """Wait for what the card was told to do."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 may be multiplied with fewer digits, as TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def fastest(run: Callable[[], object], device: str) -> float:
    """Seconds of a call: the least of a few."""
    took = []
    for _ in range(8):
        begin = time.perf_counter()
        run()
        finish(device)
        took.append(time.perf_counter() - begin)
    return min(took)


def limits(scale: Scale) -> dict[str, float]:
    """TFLOP/s of matrix products by their numbers, and under "copy" TB/s of a copy."""
    device, n = scale.device, scale.matrix
    one = torch.randn(n, n, device=device)
    other = torch.randn(n, n, device=device)
    found = {}
    for numbers, kind, fewer in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("fp16", torch.float16, False),
        ("bf16", torch.bfloat16, False),
    ):
        a, b = one.to(kind), other.to(kind)
        with tf32(fewer):
            found[numbers] = 2 * n**3 / fastest(lambda a=a, b=b: a @ b, device) / 1e12
    copied = torch.empty_like(one)
    moved = 2 * one.numel() * one.element_size()
    found["copy"] = moved / fastest(lambda: copied.copy_(one), device) / 1e12
    return found


def body(path: Path, scale: Scale) -> Path:
    """A cylinder of noise in air, in Hounsfield units."""
    rng = np.random.default_rng(0)
    i, j = np.ix_(*(np.linspace(-1, 1, n) for n in scale.grid[:2]))
    inside = (i / 0.7) ** 2 + (j / 0.5) ** 2 < 1
    array = np.full((1, *scale.grid), -1024, np.int16)
    for k in range(scale.grid[2]):
        array[0, inside, k] = rng.normal(40, 60, int(inside.sum()))
    write_volume(Volume(array, Geometry.from_spacing(scale.spacing_mm, scale.grid)), path)
    return path


def ways(bundle: Bundle, scale: Scale) -> tuple[Way, ...]:
    """All ways; the first two are what the others are held against."""
    device: Any = scale.device
    half: Any = "fp16" if device == "cuda" else "bf16"

    def tensorrt() -> EngineMaker:
        return checked(bundle, export(bundle, ExportSettings("tensorrt", "fp16", cases=0)))

    return (
        Way("torch eager, fp32", "fp32", lambda: TorchMaker(device=device, precision="fp32")),
        Way(
            f"torch eager, {half} (automatic mixed precision)", half,
            lambda: TorchMaker(device=device, precision=half),
        ),
        Way("medseg as it chooses", "bf16", lambda: TorchMaker(device=device)),
        Way(f"compiled, channels last, graphs, {half}", half, lambda: Compiled(scale, half)),
        Way("compiled, channels last, graphs, bf16", "bf16", lambda: Compiled(scale, "bf16")),
        Way("TensorRT, fp16", "fp16", tensorrt),
    )  # fmt: skip


def segmented(
    scan: Path, out: Path, predictor: Predictor, engines: TimedMaker, device: str
) -> Cost:
    """One case from its file to the file of its mask."""
    for engine in engines.made:
        engine.seconds, engine.patches = 0.0, 0
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = [time.perf_counter()]
    volume = read_volume(scan)
    times.append(time.perf_counter())
    # Prepared a second time, to know what that takes; the total counts it once.
    predictor.configured[0].prepared(volume)
    times.append(time.perf_counter())
    mask = predictor.predict(volume).label_map
    times.append(time.perf_counter())
    write_label_map(mask, out)
    times.append(time.perf_counter())
    read, prepare, predict, write = np.diff(times).tolist()
    network = sum(engine.seconds for engine in engines.made)
    rest = predict - prepare - network
    seconds = dict(zip(STAGES, (read, prepare, network, rest, write), strict=True))
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    return Cost(seconds, sum(engine.patches for engine in engines.made), mask.array, peak)


def measured(way: Way, bundle: Bundle, scan: Path, out: Path, scale: Scale, rounds: int) -> Cost:
    """The median case of a way, after one that compiles.

    Raises:
        MedsegError: If this way is not to be had here.
    """
    engines = TimedMaker(way.maker(), scale.device)
    predictor = Predictor(bundle, maker=engines)
    costs = [segmented(scan, out, predictor, engines, scale.device) for _ in range(rounds + 1)]
    totals = [cost.total for cost in costs[1:]]
    return min(costs[1:], key=lambda cost: abs(cost.total - median(totals)))


def table(costs: dict[Way, Cost], best: dict[str, float], gflop: float) -> None:
    """All ways side by side."""
    names = list(costs)
    eager, mixed = (costs[way].total for way in names[:2])
    print("\n| way | s | x fp32 | x AMP | " + " | ".join(f"{name}, s" for name in STAGES)
          + " | TFLOP/s | of the limit | as in fp32 | card, GB |")  # fmt: skip
    print("|---" + "|--:" * (7 + len(STAGES)) + "|")
    for way, cost in costs.items():
        speed = gflop * cost.patches / cost.seconds["network"] / 1e3
        alike = float((cost.mask == costs[names[0]].mask).mean())
        stages = " | ".join(f"{cost.seconds[name]:.2f}" for name in STAGES)
        print(
            f"| {way.name} | {cost.total:.2f} | {eager / cost.total:.2f} | "
            f"{mixed / cost.total:.2f} | {stages} | {speed:.2f} | "
            f"{speed / best[way.numbers]:.0%} of {way.numbers} | {alike:.5f} | "
            f"{cost.card_gb:.1f} |"
        )
    fast = max(names, key=lambda way: eager / costs[way].total)
    ratio = eager / costs[fast].total
    word = "reached" if ratio >= GOAL else "missed"
    print(f"\n{fast.name}: {ratio:.2f} times eager fp32; the goal of {GOAL:g} is {word}.")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="cases of each way, after the first")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU: tries the script")
    options = parser.parse_args(arguments)
    scale = DRY if options.dry else WHOLE
    if scale.device == "cuda" and not torch.cuda.is_available():
        sys.exit("No GPU that torch sees. Try the script with --dry.")
    keep_freed_memory()
    card = torch.cuda.get_device_name() if scale.device == "cuda" else "a dry run, no figures"
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {card}, Python {platform.python_version()}, "
        f"torch {version('torch')}, medseg {version('medseg')}"
    )
    best = limits(scale)
    speeds = ", ".join(f"{name} {x:.3g} TFLOP/s" for name, x in best.items() if name != "copy")
    print(f"Limits: {speeds}, copy {best['copy']:.3g} TB/s")
    with tempfile.TemporaryDirectory() as name, tf32(allowed=False):
        folder = Path(name)
        bundle = save_bundle(
            random_bundle(scale.classes, scale.patch, scale.width, 0.5), folder / "bundle"
        )
        scan, out = body(folder / "scan.nii.gz", scale), folder / "mask.nii.gz"
        gflop = 2 * gmacs(bundle.plan.network, bundle.plan.patch_size)
        costs: dict[Way, Cost] = {}
        for way in ways(bundle, scale):
            try:
                costs[way] = measured(way, bundle, scan, out, scale, options.rounds)
            except MedsegError as error:
                print(f"Left out: {way.name}. {error}")
            torch.compiler.reset()
        table(costs, best, gflop)


if __name__ == "__main__":
    main()
