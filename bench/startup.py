"""What a command takes beside its work: seconds and memory of the packages that it loads.

First each package alone, in processes of its own; then one case of a hippocampus from file to mask
in each engine, the program's start included, on one thread. Seconds are the least of some rounds,
in turn; memory is the largest resident memory of the process, shared pages included.

    python bench/startup.py [--data FOLDER] [--rounds 7]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from medseg.bundle import load_bundle, save_bundle

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "Task04_Hippocampus"

FIRST_LOOP = """
import numpy as np
from medseg.space.kernels import heaviest_class
heaviest_class(np.zeros((2, 4, 4, 4), np.uint8), np.zeros((2, 4, 4, 4), np.float32))
"""

PACKAGES = {
    "Python alone": "",
    "numpy": "import numpy",
    "torch": "import torch",
    "numba and a loop that it has compiled before": FIRST_LOOP,
    "scipy.ndimage": "import scipy.ndimage",
    "nibabel, which loads pydicom": "import nibabel",
    "SimpleITK": "import SimpleITK",
    "openvino": "import openvino",
    "onnxruntime": "import onnxruntime",
}

RUN = """
import sys, time
sys.argv[0] = "medseg"
from medseg.cli.app import main
main()
"""

MEASURED = """
import atexit, os
def tell():
    with open("/proc/self/status") as stream:
        peak = next(line.split()[1] for line in stream if line.startswith("VmHWM"))
    times = os.times()
    os.write(2, f"\\n{times.user + times.system} {peak}".encode())
atexit.register(tell)
"""


class Cost(NamedTuple):
    """Of a process: wall and CPU seconds, and its largest resident memory in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def cost_of(code: str, *words: object) -> Cost:
    """Run code in a process of its own, on one thread."""
    command = [sys.executable, "-c", MEASURED + code, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    begin = os.times().elapsed
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = os.times().elapsed - begin
    if run.returncode:
        sys.exit(f"{' '.join(map(str, words)) or code} failed:\n{run.stderr[-1000:]}")
    cpu_seconds, peak_kib = run.stderr.split()[-2:]
    return Cost(seconds, float(cpu_seconds), float(peak_kib) * 1024 / 1e6)


def least(costs: list[Cost]) -> str:
    """The least of each, as cells of a table."""
    seconds, cpu_seconds, peak_mb = (min(cells) for cells in zip(*costs, strict=True))
    return f"{seconds:.2f} | {cpu_seconds:.2f} | {peak_mb:.0f}"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="Task04_Hippocampus of the MSD.")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    packages: dict[str, list[Cost]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, code in PACKAGES.items():
            packages[name].append(cost_of(code))
    print("| loaded | s | CPU s | MB |\n|---|--:|--:|--:|")
    for name, costs in packages.items():
        print(f"| {name} | {least(costs)} |")
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        save_bundle(load_bundle("hippocampus-mr"), bundle)
        export = ["export", bundle, "--calibrate", options.data, "--to"]
        ways = [("torch", "fp32"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "int8")]
        for engine, precision in ways[1:]:
            cost_of(RUN, *export, engine, "--precision", precision)
        image = min((options.data / "imagesTr").glob("hippocampus_*.nii.gz"))
        cases: dict[str, list[Cost]] = defaultdict(list)
        for n in range(options.rounds + 1):
            for engine, precision in ways:
                words = ["--model", bundle, "--engine", engine, "--precision", precision]
                out = Path(folder) / f"{engine}_{precision}"
                cost = cost_of(RUN, "predict", image, "--out", out, *words)
                if n:  # the first one may compile loops
                    cases[f"{engine} {precision}"].append(cost)
    print("\n| one case, file to mask | s | CPU s | MB |\n|---|--:|--:|--:|")
    for name, costs in cases.items():
        print(f"| {name} | {least(costs)} |")


if __name__ == "__main__":
    main()
