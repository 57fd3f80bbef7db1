"""What `medseg.allocator` is worth and costs: a step with glibc's defaults, and with memory kept.

Beside the seconds of a training step: the most memory of the process, what it holds when all is
freed, and what it holds after that was given back, as is done between cases of a prediction. Each
setting runs in a process of its own, since the allocator is set once and before torch. The
processes take turns, so that a machine that gets slower or faster does so for both.

    python bench/allocator.py --width 32 --batch 2
"""

import argparse
import json
import statistics
import subprocess
import sys

ROUNDS = 3


def step_cost(
    *, keep: bool, width: int, batch: int, steps: int, precision: str
) -> dict[str, float]:
    """CPU seconds of a step, median, and memory in MB beyond that of the libraries."""
    from medseg.allocator import keep_freed_memory, release_freed_memory, resident_bytes

    if keep and not keep_freed_memory():
        sys.exit("This is no glibc: there is nothing to measure.")
    import gc
    import resource
    import time

    import torch

    from medseg.losses import build_loss
    from medseg.networks.build import build
    from medseg.specs import LossSpec, PlainUNetSpec

    before = resident_bytes() / 1e6
    network = build(
        PlainUNetSpec(
            dims=3,
            in_channels=1,
            classes=3,
            features=(width, 2 * width, 4 * width, 8 * width),
            kernels=((3, 3, 3),) * 4,
            strides=((1, 1, 1), *((2, 2, 2),) * 3),
            encoder_convs=(2,) * 4,
            decoder_convs=(2,) * 3,
        )
    )
    loss, optimizer = build_loss(LossSpec()), torch.optim.AdamW(network.parameters(), fused=True)
    image = torch.randn(batch, 1, 40, 56, 40)
    labels = torch.randint(0, 3, (batch, 40, 56, 40))
    seconds = []
    for _ in range(steps + 2):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            outputs = network(image)
        loss(outputs, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before
    del network, loss, optimizer, image, labels, outputs
    gc.collect()
    held = resident_bytes() / 1e6 - before
    start = time.process_time()
    release_freed_memory()
    return {
        "step": statistics.median(seconds[2:]),
        "peak": peak,
        "held": held,
        "release": time.process_time() - start,
        "left": resident_bytes() / 1e6 - before,
    }


def measure(options: argparse.Namespace, *, keep: bool, precision: str) -> dict[str, float]:
    """The same in a fresh process."""
    words = {
        "keep": keep,
        "width": options.width,
        "batch": options.batch,
        "steps": options.steps,
        "precision": precision,
    }
    outcome = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(words)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(outcome.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16, help="features of the first stage")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(step_cost(**json.loads(options.child))))
        return
    print(f"Training step, width {options.width}, batch {options.batch} of 40 x 56 x 40, CPU time")
    print("| arithmetic, memory | step, s | peak MB | held when freed | given back in, s | left |")
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    for precision in ("fp32", "bf16"):
        pairs = [
            [measure(options, keep=keep, precision=precision) for keep in (False, True)]
            for _ in range(options.rounds)
        ]
        steps = []
        for name, column in zip(("default", "kept"), zip(*pairs, strict=True), strict=True):
            cost = {key: statistics.median(one[key] for one in column) for key in column[0]}
            steps.append(cost["step"])
            print(
                f"| {precision}, {name} | {cost['step']:.3f} | {cost['peak']:.0f} "
                f"| {cost['held']:.0f} | {cost['release']:.3f} | {cost['left']:.0f} |"
            )
        print(f"| {precision}, ratio | {steps[0] / steps[1]:.2f} | | | | |", flush=True)


if __name__ == "__main__":
    main()
