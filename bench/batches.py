"""How many patches at a time? Milliseconds a patch, and memory, by engine and size of the batch.

The network of the hippocampus (patches of 40x56x40); each figure in a process of its own.

    python bench/batches.py [--data FOLDER] [--rounds 3]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "Task04_Hippocampus"
BATCHES = (1, 2, 5, 8)
PATCHES = 40

ONE = """
import statistics, sys, time
from pathlib import Path
from medseg.allocator import keep_freed_memory, resident_bytes
keep_freed_memory()
import numpy as np
from medseg.bundle import load_bundle
from medseg.inference.engines import choose_engines
from medseg.inference.machine import limit_threads
folder, engine, precision, batch, threads, patches = sys.argv[1:]
limit_threads(int(threads))
bundle = load_bundle(folder)
maker = choose_engines(bundle, engine=engine, precision=precision, device="cpu")
(running,) = maker(bundle.configurations[0])[:1]
plan, batch = bundle.plan, int(batch)
shape = (batch, plan.network.in_channels, *plan.patch_size)
images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
before = resident_bytes()
took = []
for _ in range(2 + int(patches) // batch):
    begin = time.perf_counter()
    running.run(images)
    took.append((time.perf_counter() - begin) / batch)
print(1e3 * statistics.median(took[2:]), (resident_bytes() - before) / 1e6)
"""


def measured(*words: object, threads: int) -> tuple[float, float]:
    """Milliseconds a patch, and MB that running took."""
    command = [sys.executable, "-c", ONE, *map(str, (*words, threads, PATCHES))]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if run.returncode:
        sys.exit(run.stderr[-1000:])
    ms, megabytes = map(float, run.stdout.split())
    return ms, megabytes


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="Task04_Hippocampus of the MSD.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from medseg.bundle import load_bundle, save_bundle
    from medseg.compression.export import ExportSettings, export
    from medseg.dataset.importers import open_dataset

    ways = [("torch", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "int8")]
    found: dict[tuple[str, str, int, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_bundle(load_bundle("hippocampus-mr"), Path(folder) / "bundle")
        for engine, precision in ways[1:]:
            export(bundle, ExportSettings(engine, precision), data=open_dataset(options.data))
        for _ in range(options.rounds):
            for threads in (1, 2):
                for engine, precision in ways:
                    for batch in BATCHES:
                        cost = measured(bundle.folder, engine, precision, batch, threads=threads)
                        found[engine, precision, threads, batch].append(cost)
    heads = " | ".join(f"{batch} at a time: ms | MB" for batch in BATCHES)
    print(f"| engine | threads | {heads} |\n|---|--:|{'--:|--:|' * len(BATCHES)}")
    for threads in (1, 2):
        for engine, precision in ways:
            costs = [found[engine, precision, threads, batch] for batch in BATCHES]
            cells = [f"{min(c)[0]:.1f} | {min(mb for _, mb in c):.0f}" for c in costs]
            print(f"| {engine} {precision} | {threads} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
