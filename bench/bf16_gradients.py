"""For which shapes are the weight gradients of a bf16 3D convolution on this CPU wrong?

    python bench/bf16_gradients.py

Each shape is run six times in a process of its own (wrong ones may spoil the heap and end it),
after memory was filled with NaN, and compared with fp32. A gradient that differs by more than a
twentieth is wrong.
"""

import argparse
import itertools
import os
import platform
import subprocess
import sys

import torch
from torch import nn

from medseg.training.probe import processor_name

CHANNELS, ACROSS, TIMES, TOLERANCE = 64, 4, 6, 0.05


def fill_memory() -> None:
    """Leave NaN in blocks of the sizes that a gradient may get."""
    for size in (1 << 18, 1 << 20, 1 << 22):
        torch.full((size // 4,), float("nan"))


def count_wrong(depth: int, kernel: int, stride: int) -> int:
    """How many of six gradients are wrong."""
    torch.manual_seed(0)
    convolution = nn.Conv3d(CHANNELS, CHANNELS, kernel, stride, kernel // 2, bias=False)
    image = torch.randn(2, CHANNELS, depth, ACROSS, ACROSS)
    wrong = 0
    for _ in range(TIMES):
        gradients = []
        for half in (False, True):
            convolution.zero_grad()
            fill_memory()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = convolution(image.clone().requires_grad_())
            torch.autograd.backward(out.float().square().mean())
            gradients.append(convolution.weight.grad.clone())
        full, short = gradients
        wrong += not bool((short - full).norm() <= TOLERANCE * full.norm())
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(count_wrong(*options.one), flush=True)
        os._exit(0)
    print(f"{processor_name()}, torch {torch.__version__}, Python {platform.python_version()}\n")
    print("| kernel | stride | voxels along the first axis | wrong, of 6 |\n|--:|--:|--:|--:|")
    for kernel, stride in itertools.product((3, 5), (1, 2)):
        for depth in range(1, kernel + 2):
            shape = [str(number) for number in (depth, kernel, stride)]
            done = subprocess.run(
                [sys.executable, __file__, "--one", *shape],
                capture_output=True,
                text=True,
                check=False,
            )
            wrong = done.stdout.strip() or f"ended by signal {-done.returncode}"
            print(f"| {kernel} | {stride} | {depth} | {wrong} |", flush=True)


if __name__ == "__main__":
    main()
