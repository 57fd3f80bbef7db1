"""A bound on the memory of a prediction: what is chosen so that a case stays within it.

What is held of a case is known beforehand: its image and its mask. What the network takes for a
batch of windows is estimated from above, by all of its feature maps at once. The slots of the
planes that are held get up to a quarter of what is left, or what one window needs; the batch half
of the rest, since memory falls into pieces. Whatever is estimated wrongly, the bound is kept: by
the kernel, where `allocator.bounded_memory` is asked for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import prod
from typing import NamedTuple

from medseg.allocator import (
    bounded_memory,
    is_out_of_memory,
    release_freed_memory,
    room_bytes,
)
from medseg.dataset.cost import feature_values
from medseg.dataset.plan import Plan
from medseg.errors import MemoryTooSmall
from medseg.inference.passage import SLOT_BYTES, Passage, Sweep, passages, wholes
from medseg.volume.geometry import Geometry

BYTES_OF_A_MASK = 4
"""For each voxel of a case: its value, and once more in the order in which it is written."""

BYTES_OF_A_FEATURE = 8
"""A value of a feature map in float32, and once more as convolutions want it laid out."""

WORKING_BYTES = 48 << 20
"""Beside them: parts of an answer on their way to the slots, and loops being compiled."""


class Load(NamedTuple):
    """What one configuration takes.

    Attributes:
        sweep: What is gone through.
        window_bytes: The network, for one window, at most.
    """

    sweep: Sweep
    window_bytes: int

    @classmethod
    def of(cls, sweep: Sweep, plan: Plan) -> "Load":
        """That of a plan's network."""
        return cls(sweep, BYTES_OF_A_FEATURE * feature_values(plan.network, plan.patch_size))


def passages_within(
    loads: Sequence[Load],
    target: Geometry,
    most_bytes: int,
    *,
    held_whole: bool = False,
    least: bool = False,
) -> list[Passage]:
    """How prepared cases are gone through so that the process holds at most `most_bytes`.

    Args:
        loads: What is gone through.
        target: The grid of the mask.
        most_bytes: Resident memory of the process, what it holds now included.
        held_whole: Whether all slots of a volume are needed at the same time.
        least: Whether to hold no more than one window needs, since more was refused.

    Raises:
        MemoryTooSmall: If mask and slots alone need more.
    """
    release_freed_memory()
    sweeps = [load.sweep for load in loads]
    free = room_bytes(most_bytes) - WORKING_BYTES - BYTES_OF_A_MASK * prod(target.grid_size)
    for_slots = max(0, min(SLOT_BYTES, free // 4, free - max(x.window_bytes for x in loads)))
    chosen = wholes(sweeps) if held_whole else passages(sweeps, target, slot_bytes=for_slots)
    slots = sum(s.held_bytes(p) for s, p in zip(sweeps, chosen, strict=True))
    if slots > free:
        raise too_small(most_bytes, f"{(slots - free) / 2**20:.0f} MiB more than there is")
    if least:
        chosen = chosen if held_whole else passages(sweeps, target, slot_bytes=0)
        return [passage._replace(batch=1) for passage in chosen]
    batches = [max(1, int((free - slots) / 2 / load.window_bytes)) for load in loads]
    return [
        passage._replace(batch=min(passage.batch, batch))
        for passage, batch in zip(chosen, batches, strict=True)
    ]


def described(passage: Passage, sweep: Sweep) -> str:
    """A passage in words, for whoever gave the bound."""
    size = sweep.grid.grid_size[passage.axis]
    windows = " x ".join(map(str, sweep.spec.patch_size))
    planes = f"{min(passage.planes, size)} of {size} planes along {'IJK'[passage.axis]}"
    held = sweep.held_bytes(passage) / 2**20
    return f"windows of {windows}, {passage.batch} at a time; {planes} held, {held:.0f} MiB"


@contextmanager
def within(most_bytes: int | None) -> Iterator[None]:
    """What is refused for want of memory becomes one sentence.

    Raises:
        MemoryTooSmall: If memory was refused.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        release_freed_memory()
        raise too_small(most_bytes, "more than that for one window, or for the image") from error


@contextmanager
def bounded(most_bytes: int | None) -> Iterator[None]:
    """A block within a bound, or without one: see `within` and `allocator.bounded_memory`."""
    kept = nullcontext() if most_bytes is None else bounded_memory(most_bytes)
    with within(most_bytes), kept:
        yield


def too_small(most_bytes: int | None, received: str) -> MemoryTooSmall:
    """The refusal of a case."""
    bound = "the memory of this machine"
    if most_bytes is not None:
        bound = f"--memory {most_bytes / 2**20:.0f}M"
    return MemoryTooSmall(
        f"A case must fit into {bound}: its image, its mask, and what one window takes.",
        received=received,
        cure="Give more with --memory, crop the case, or choose a bundle of smaller windows.",
    )
