"""How long will a step take? What planning says after the probe, against steps that were taken.

Networks of several kinds, widths, patches and batches, planned and trained for a few steps in the
arithmetic that medseg chooses for them, one thread. Seconds are CPU seconds, of the probe too.

    python bench/probe.py                          # about a minute and a half
"""

import argparse
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from medseg.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from medseg.dataset.description import Channel  # noqa: E402
from medseg.dataset.effort import step_seconds  # noqa: E402
from medseg.dataset.normalise import ZScore  # noqa: E402
from medseg.dataset.plan import Plan  # noqa: E402
from medseg.dataset.scaling import scaled_by  # noqa: E402
from medseg.dataset.topology import topology  # noqa: E402
from medseg.specs import AugmentSpec, Budget, LossSpec, RecipeSpec, WindowSpec  # noqa: E402
from medseg.specs.settings import fitting_grid  # noqa: E402
from medseg.training.module import Learner  # noqa: E402
from medseg.training.prepare import budget_of  # noqa: E402
from medseg.training.probe import (  # noqa: E402
    choose_precision,
    probe_machine,
    processor_name,
)
from medseg.training.run import RunSettings  # noqa: E402
from medseg.volume.labels import Label  # noqa: E402

STEPS = 3
LABELS = (Label(value=1, name="anterior"), Label(value=2, name="posterior"))


@dataclass(frozen=True)
class Asked:
    """A network whose step is foretold and taken: its kind, width, patch and batch."""

    arch: str
    width: int
    patch: tuple[int, int, int]
    batch: int


SMALL, WHOLE, SLICE = (24, 32, 24), (40, 56, 40), (128, 128, 1)
ASKED = (
    Asked("plain_unet", 32, SMALL, 2),
    Asked("plain_unet", 32, WHOLE, 2),
    Asked("plain_unet", 16, SMALL, 2),
    Asked("plain_unet", 16, WHOLE, 2),
    Asked("plain_unet", 16, SMALL, 8),
    Asked("plain_unet", 8, SMALL, 2),
    Asked("plain_unet", 8, WHOLE, 2),
    Asked("plain_unet", 32, SLICE, 2),
    Asked("plain_unet", 32, SLICE, 12),
    Asked("plain_unet", 16, SLICE, 4),
    Asked("resenc_unet", 16, SMALL, 2),
    Asked("resenc_unet", 32, SLICE, 4),
    Asked("unet3d", 16, SMALL, 2),
    Asked("unet", 16, SLICE, 2),
    Asked("attention_unet", 16, SMALL, 2),
    Asked("lite", 32, WHOLE, 2),
    Asked("lite", 32, SLICE, 4),
    Asked("mednext", 16, SMALL, 2),
    Asked("unetr", 16, (32, 32, 32), 2),
    Asked("medt", 32, (64, 64, 1), 2),
)


def plan_of(asked: Asked, budget: Budget) -> Plan:
    """A plan of that network."""
    dims = 2 if asked.patch[2] == 1 else 3
    shape = topology((1.0,) * dims, asked.patch[:dims])
    network = scaled_by(asked.arch)(shape, base=asked.width, in_channels=1, classes=3)
    i, j, *k = fitting_grid(shape.patch_size, network.divisor)
    patch = (i, j, k[0] if k else 1)
    return Plan(
        dataset="none",
        config="2d" if dims == 2 else "3d_full",
        channels=(Channel(name="T1", modality="MR"),),
        labels=LABELS,
        normalisations=(ZScore(inside_nonzero=False),),
        orientation="RAS",
        spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False,
        patch_size=patch,
        network=network,
        loss=LossSpec(),
        augment=AugmentSpec(),
        recipe=RecipeSpec(batch_size=asked.batch),
        window=WindowSpec(patch_size=patch),
        budget=budget,
        median_grid=patch,
    )


def taken_seconds(plan: Plan, precision: str) -> float:
    """CPU seconds of a step of the learner, the least of a few after one that warms up."""
    learner = Learner(plan, device="cpu", precision=precision, seed=0)
    grid, batch = plan.patch_size[: plan.network.dims], plan.recipe.batch_size
    image = torch.randn(batch, 1, *grid)
    labels = torch.randint(0, 3, (batch, *grid))
    seconds = []
    for _ in range(STEPS + 1):
        begin = time.process_time()
        learner.step((image, labels), 1e-3)
        seconds.append(time.process_time() - begin)
    return min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="budget that is planned for")
    options = parser.parse_args()
    torch.set_num_threads(1)
    time.perf_counter = time.process_time  # what neighbours take makes the machine no slower
    begin = time.process_time()
    machine = probe_machine("cpu")
    probing = time.process_time() - begin
    budget = budget_of(RunSettings(seconds=60 * options.minutes), machine)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, one thread of "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, torch "
        f"{version('torch')}, medseg {version('medseg')}\n"
        f"The probe took {probing:.1f} s and said {machine.gflops:.0f} GFLOP/s.\n"
    )
    print("| network | width | patch, batch | arithmetic | foretold, s | taken, s | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    ratios = []
    for asked in ASKED:
        plan = plan_of(asked, budget)
        foretold = step_seconds(plan.network, plan.patch_size, asked.batch, budget)
        precision, _ = choose_precision(plan, "cpu")
        taken = taken_seconds(plan, precision)
        ratios.append(foretold / taken)
        size = "x".join(str(n) for n in plan.patch_size if n > 1)
        print(
            f"| {asked.arch} | {asked.width} | {size}, {asked.batch} | {precision} | "
            f"{foretold:.3f} | {taken:.3f} | {foretold / taken:.2f} |",
            flush=True,
        )
    off = np.exp(np.abs(np.log(ratios))) - 1
    print(
        f"\nOff by {np.median(off):.0%} in the median, {np.percentile(off, 90):.0%} at the 90th "
        f"percentile, {off.max():.0%} at most."
    )


if __name__ == "__main__":
    main()
