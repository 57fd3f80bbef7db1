"""One patch through nnU-Net's network for the hippocampus, in every engine and precision.

The network is `plain_unet` as nnU-Net plans it for the Decathlon's hippocampus (32-64-128-256
features, 5.6 million weights), the patch 40x56x40 voxels, on one thread. Weights are random: they
do not change the time. Engines take turns; times are CPU milliseconds, medians. The first row is a
process of its own, whose allocator is as it comes (medseg/allocator.py).

The limit of the core is the fastest matrix product found in numpy, torch and OpenVINO, in float32,
bf16 and INT8; a runtime may come near the one of its own numbers.

With --bundle and --data, what INT8 costs in Dice and HD95 on whole cases, as `medseg export` says.

    python bench/inference.py
    python bench/inference.py --bundle RUN/bundle --data DATASET
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

FIXED = "--as-it-comes" not in sys.argv
if FIXED:
    from medseg.allocator import keep_freed_memory

    keep_freed_memory()

import numpy as np  # noqa: E402
import openvino  # noqa: E402
import torch  # noqa: E402
from openvino import opset13 as layers  # noqa: E402

from medseg.bundle import load_bundle, save_bundle  # noqa: E402
from medseg.compression.calibrate import calibrated  # noqa: E402
from medseg.compression.compile import write_package  # noqa: E402
from medseg.compression.export import ExportSettings, export  # noqa: E402
from medseg.compression.graph import onnx_graph  # noqa: E402
from medseg.compression.qdq import quantised, shared_inputs  # noqa: E402
from medseg.compression.writers import write_network  # noqa: E402
from medseg.dataset.cost import gmacs, parameter_count  # noqa: E402
from medseg.dataset.importers import open_dataset  # noqa: E402
from medseg.inference.engines import open_engine  # noqa: E402
from medseg.inference.exported import EngineKind, EnginePrecision  # noqa: E402
from medseg.inference.machine import processor_name  # noqa: E402
from medseg.inference.torch_engine import TorchEngine  # noqa: E402
from medseg.networks import build  # noqa: E402
from medseg.specs import PlainUNetSpec  # noqa: E402
from medseg.types import FloatArray  # noqa: E402

GRID = (40, 56, 40)
SPEC = PlainUNetSpec(
    dims=3,
    in_channels=1,
    classes=3,
    features=(32, 64, 128, 256),
    kernels=((3, 3, 3),) * 4,
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    encoder_convs=(2, 2, 2, 2),
    decoder_convs=(2, 2, 2),
)
EXPORTED: tuple[tuple[EngineKind, EnginePrecision], ...] = (
    ("compiled", "fp32"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
_SIZE = 1536


def cpu_ms(run: Callable[[], object]) -> float:
    """CPU time of one call."""
    begin = time.process_time()
    run()
    return 1e3 * (time.process_time() - begin)


def limits() -> dict[str, float]:
    """GFLOP/s of matrix products: the best of a few, by the numbers that are multiplied."""
    a, b = (torch.randn(_SIZE, _SIZE) for _ in range(2))
    half = [one.bfloat16() for one in (a, b)]
    small = [(30 * one).clamp(-127, 127).to(torch.int8) for one in (a, b)]
    products = {
        "fp32": (
            lambda: a.numpy() @ b.numpy(),
            lambda: a @ b,
            product("f32", a.numpy(), b.numpy()),
        ),
        "bf16": (lambda: half[0] @ half[1], product("bf16", a.numpy(), b.numpy())),
        "int8": (lambda: torch._int_mm(*small),),
    }
    flop = 2 * _SIZE**3 / 1e9
    return {
        name: flop / min(cpu_ms(run) / 1e3 for run in runs for _ in range(6))
        for name, runs in products.items()
    }


def product(hint: str, a: FloatArray, b: FloatArray) -> Callable[[], object]:
    """OpenVINO's matrix product in these numbers."""
    given = layers.parameter(a.shape, np.float32)
    model = openvino.Model([layers.matmul(given, layers.constant(b), False, False)], [given])
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": hint}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer([a])


def eager(patch: FloatArray) -> Callable[[], object]:
    """Torch as it comes: float32, no choice of loops."""
    torch.manual_seed(0)
    network, image = build(SPEC).eval(), torch.from_numpy(patch)

    def run() -> None:
        with torch.inference_mode():
            network(image)

    return run


def contenders(patch: FloatArray, folder: Path) -> dict[str, tuple[str, Callable[[], object]]]:
    """Each engine: what its numbers are, and one patch through it."""
    torch.manual_seed(0)
    network = build(SPEC).deployed()
    found: dict[str, tuple[str, Callable[[], object]]] = {
        "torch eager, memory kept": ("fp32", eager(patch))
    }
    for precision in ("fp32", "bf16"):
        engine = TorchEngine(network, device="cpu", precision=precision)
        found[f"medseg torch {precision}"] = (precision, _running(engine.run, patch))
    model = onnx_graph(network, patch.shape[1:])
    seen = [np.random.default_rng(n).standard_normal(patch.shape, np.float32) for n in range(2)]
    for kind, precision in EXPORTED:
        written = model
        if precision == "int8":
            grids = calibrated(network, seen, shared_inputs(model), target=kind, kept=KEPT).grids
            written = quantised(model, grids)
        place = folder / kind / precision
        place.mkdir(parents=True)
        if kind == "compiled":
            write_package(network, place / "0.pt2", patch.shape[1:])
        else:
            write_network(written, place, 0, kind=kind, precision=precision, patch=patch.shape[1:])
        engine = open_engine(place, 0, kind, precision)
        found[f"{kind} {precision}"] = (precision, _running(engine.run, patch))
    return found


KEPT = {"encoder.0.0.conv": "first", "heads.0": "last"}


def _running(run: Callable[[FloatArray], object], patch: FloatArray) -> Callable[[], object]:
    return lambda: run(patch)


def as_it_comes(rounds: int) -> float:
    """Torch eager in a process whose allocator is left alone, in milliseconds."""
    words = [sys.executable, __file__, "--as-it-comes", "--rounds", str(rounds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(rounds: int) -> None:
    patch = np.random.default_rng(0).standard_normal((1, 1, *GRID), np.float32)
    gflop, best = 2 * gmacs(SPEC, GRID), limits()
    print(
        f"\nplain_unet, {parameter_count(SPEC) / 1e6:.2f} million weights, "
        f"{'x'.join(map(str, GRID))}, {gflop:.1f} GFLOP, one thread. Matrix products: "
        + ", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in best.items())
    )
    plain = as_it_comes(rounds)
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders(patch, Path(folder))
        took: dict[str, list[float]] = {name: [] for name in runs}
        for n in range(rounds + 1):
            for name, (_, run) in runs.items():
                ms = cpu_ms(run)
                took[name] += [ms] if n else []
    kept = median(took["torch eager, memory kept"])
    print("\n| engine | ms | GFLOP/s | of the limit | x eager, memory kept | x eager |")
    print("|---|--:|--:|--:|--:|--:|")
    rows = {"torch eager": ("fp32", plain)} | {
        name: (numbers, median(took[name])) for name, (numbers, _) in runs.items()
    }
    for name, (numbers, ms) in rows.items():
        speed = gflop / ms * 1e3
        print(
            f"| {name} | {ms:.1f} | {speed:.0f} | {100 * speed / best[numbers]:.0f} % of {numbers} "
            f"| {kept / ms:.2f} | {plain / ms:.2f} |"
        )


def costs(bundle: Path, data: Path, cases: int) -> None:
    """What INT8 costs on whole cases; the bundle itself is left as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = save_bundle(load_bundle(bundle), Path(folder) / "bundle")
        settings = ExportSettings("openvino", "int8", max_dice_loss=1.0, cases=cases)
        record = export(copy, settings, data=open_dataset(data)).record
    accuracy = record.accuracy
    if accuracy is None or accuracy.hd95_mm is None:
        print("\nNo labelled case to judge on.")
        return
    seen = "no network saw" if accuracy.are_held_out else "networks were trained on"
    print(f"\nINT8 of {bundle} on {len(accuracy.cases)} cases that {seen}:")
    for name, score in (("Dice", accuracy.dice), ("HD95, mm", accuracy.hd95_mm)):
        interval = ""
        if score.ci_low is not None and score.ci_high is not None:
            interval = f" ({score.ci_low:+.4f} to {score.ci_high:+.4f})"
        print(
            f"{name} {score.engine:.4f} for {score.torch:.4f}, change {score.change:+.4f}{interval}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cases", type=int, default=36)
    parser.add_argument("--as-it-comes", action="store_true", help="for the first row")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.as_it_comes:
        run = eager(np.random.default_rng(0).standard_normal((1, 1, *GRID), np.float32))
        print(median([cpu_ms(run) for _ in range(options.rounds + 1)][1:]))
        return
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, Python {platform.python_version()}, "
        f"torch {version('torch')}, onnxruntime {version('onnxruntime')}, "
        f"openvino {version('openvino')}"
    )
    table(options.rounds)
    if options.bundle and options.data:
        costs(options.bundle, options.data, options.cases)


if __name__ == "__main__":
    main()
