"""Which block `lite` learns best with: the same CPU seconds, judged on held-out training cases.

Each block trains in a process of its own whose clocks are its CPU time, by `medseg.training` as a
user's training would, on the cases that time_to_dice.py gives to training; the cases that stay
unseen there are not touched. Blocks are those of lite.py.

    python bench/lite_blocks.py ../shared/data/Task04_Hippocampus --seconds 60
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from medseg.allocator import keep_freed_memory

keep_freed_memory()

from torch import Tensor, nn  # noqa: E402

import medseg.bundle  # noqa: E402
import medseg.networks  # noqa: E402
import medseg.training.module  # noqa: E402
from lite import Branches, Separable, with_blocks  # noqa: E402
from medseg.dataset.importers import open_dataset  # noqa: E402
from medseg.networks import Network  # noqa: E402
from medseg.networks.lite import ConvNormReLU  # noqa: E402
from medseg.specs import NetworkSpec  # noqa: E402
from medseg.training.crossval import train  # noqa: E402
from medseg.training.run import RunSettings  # noqa: E402
from peers.unseen import write_split  # noqa: E402


class Residual(nn.Module):
    """The convolution, with its input added where that has the same shape."""

    def __init__(self, block: ConvNormReLU) -> None:
        super().__init__()
        self.conv, self.norm = block.conv, block.norm

    def forward(self, image: Tensor) -> Tensor:
        """The sum, through a ReLU."""
        out = self.norm(self.conv(image))
        return (out + image if out.shape == image.shape else out).relu_()


BLOCKS: dict[str, Callable[[ConvNormReLU], nn.Module]] = {
    "convolution": lambda block: block,
    "convolution with its input added": Residual,
    "branches that are added up": Branches,
    "depthwise-separable": Separable,
}


def learn(dataset: Path, split: Path, out: Path, name: str, seconds: float) -> None:
    """One training, in this process; prints a line of the table."""
    time.monotonic = time.perf_counter = time.process_time
    build = medseg.networks.build

    def with_block(spec: NetworkSpec) -> Network:
        return with_blocks(build(spec), BLOCKS[name])

    medseg.training.module.build = medseg.bundle.build = with_block
    described = open_dataset(dataset)
    kept = {case["id"] for case in json.loads(split.read_text())["training"]}
    cases = tuple(case for case in described.cases if case.id in kept)
    bundle = train(
        described.model_copy(update={"cases": cases}),
        out,
        RunSettings(seconds=seconds, seed=0, arch="lite"),
        clock=time.process_time,
    )
    dice, held = bundle.metrics["dice"]["mean"], len(bundle.provenance.validation_cases)
    print(f"| {name} | {bundle.provenance.steps} | {dice:.4f} | {held} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent.parent / "shared" / "data" / "Task04_Hippocampus"
    parser.add_argument("dataset", type=Path, nargs="?", default=default)
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of a training")
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS))
    parser.add_argument("--split", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.split:
        learn(options.dataset, options.split, options.out, options.blocks[0], options.seconds)
        return
    print("| block | steps | Dice | held-out cases |\n|---|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "split.json"
        write_split(open_dataset(options.dataset), 36, 0, split)
        for n, name in enumerate(options.blocks):
            words = [sys.executable, __file__, options.dataset, "--split", split, "--blocks", name]
            words += ["--out", Path(folder) / str(n), "--seconds", f"{options.seconds:g}"]
            subprocess.run(
                list(map(str, words)), check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )


if __name__ == "__main__":
    main()
