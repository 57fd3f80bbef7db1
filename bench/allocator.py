"""What `medseg.allocator` is worth: a training step with glibc's defaults, and with memory kept.

Each setting runs in a process of its own, since the allocator is set once and before torch. The
processes take turns, so that a machine that gets slower or faster does so for both.

    python bench/allocator.py --width 32 --batch 2
"""

import argparse
import json
import statistics
import subprocess
import sys

ROUNDS = 3


def step_seconds(*, keep: bool, width: int, batch: int, steps: int, precision: str) -> float:
    """CPU seconds of a step, median, in this process."""
    if keep:
        from medseg.allocator import keep_freed_memory

        if not keep_freed_memory():
            sys.exit("This is no glibc: there is nothing to measure.")
    import time

    import torch

    from medseg.losses import build_loss
    from medseg.networks.build import build
    from medseg.specs import LossSpec, PlainUNetSpec

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
    return statistics.median(seconds[2:])


def measure(options: argparse.Namespace, *, keep: bool, precision: str) -> float:
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
    return float(outcome.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16, help="features of the first stage")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(step_seconds(**json.loads(options.child)))
        return
    print(f"Training step, width {options.width}, batch {options.batch} of 40 x 56 x 40, CPU time")
    print("| arithmetic | default, s | memory kept, s | ratio |\n|---|--:|--:|--:|")
    for precision in ("fp32", "bf16"):
        pairs = [
            [measure(options, keep=keep, precision=precision) for keep in (False, True)]
            for _ in range(ROUNDS)
        ]
        default, kept = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {precision} | {default:.3f} | {kept:.3f} | {default / kept:.2f} |", flush=True)


if __name__ == "__main__":
    main()
