"""Two folds at once with one thread each, or one after the other with two threads?

Both ways take the same training steps of the planned network on the same random patches, in turn,
so that busy neighbours meet both. Wall time is what counts on a machine with nothing else to do;
processor time per step tells the same on a busy one, since it hardly grows while others run.

    python bench/parallel_folds.py --steps 6 --rounds 2
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

WARM_UP = 2


def take_steps(threads: int, steps: int) -> dict[str, float]:
    """Wall and processor seconds of training steps in this process."""
    from medseg.allocator import keep_freed_memory

    keep_freed_memory()
    import torch

    from medseg.bundle import load_bundle
    from medseg.training.module import Learner

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan = load_bundle("hippocampus-mr").plan
    learner = Learner(plan, device="cpu", precision="fp32", seed=0)
    shape = (plan.recipe.batch_size, *plan.patch_size)
    batch = torch.randn(shape).unsqueeze(1), torch.randint(plan.network.classes, shape)
    for _ in range(WARM_UP):
        learner.step(batch, 1e-3)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        learner.step(batch, 1e-3)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def started(threads: int, steps: int) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, "--threads", str(threads), "--steps", str(steps)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def seconds_of(process: subprocess.Popen[str]) -> dict[str, float]:
    out, _ = process.communicate()
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="steps of each fold")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, help="only take steps in this process")
    options = parser.parse_args()
    if options.threads:
        print(json.dumps(take_steps(options.threads, options.steps)))
        return
    rows: list[dict[str, Any]] = []
    for n in range(options.rounds):
        one = seconds_of(started(2, options.steps))
        two = [seconds_of(p) for p in [started(1, options.steps), started(1, options.steps)]]
        rows.append(
            {
                "round": n,
                "load": round(os.getloadavg()[0], 1),
                "in turn, 2 threads: wall a step": one["wall"] / options.steps,
                "in turn, 2 threads: cpu a step": one["cpu"] / options.steps,
                "at once, 1 thread: wall a step": max(x["wall"] for x in two) / options.steps / 2,
                "at once, 1 thread: cpu a step": sum(x["cpu"] for x in two) / options.steps / 2,
            }
        )
        print(json.dumps(rows[-1], indent=1), flush=True)


if __name__ == "__main__":
    main()
