"""How many cases are prepared at the same time: as many as the memory holds, and always one."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from threading import Condition

import psutil

from medseg.dataset.plan import Plan
from medseg.dataset.preprocess import network_grid
from medseg.errors import DatasetError
from medseg.volume.volume import Volume

USABLE_SHARE = 0.8
"""Share of the memory that is free which cases may take together."""

_BYTES_OF_A_CHANNEL, _BYTES_OF_LABELS = 12, 24
"""For each voxel: of a channel on the file's grid and on the plan's, and of labels on the plan's.
Measured, a case takes 0.4 to 0.8 of it while it is turned, normalised, resampled and sampled."""


class Room:
    """Memory that cases share while they are prepared.

    Args:
        free_bytes: What they may take together; as much as is free by default.
        total_bytes: More than this nothing may take; the machine's memory by default.
    """

    def __init__(self, free_bytes: int | None = None, total_bytes: int | None = None) -> None:
        memory = psutil.virtual_memory()
        self._free = int(USABLE_SHARE * memory.available) if free_bytes is None else free_bytes
        self._total = memory.total if total_bytes is None else total_bytes
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def held(self, wanted_bytes: int) -> Iterator[None]:
        """Wait until a case fits beside those that are worked on; one alone always may begin."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._taken or self._taken + wanted_bytes <= self._free
            )
            self._taken += wanted_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= wanted_bytes
                self._changed.notify_all()

    def needed(self, volume: Volume, plan: Plan, *, case: str) -> int:
        """Bytes that preparing a case takes, its file in memory left out.

        Args:
            volume: The image as it was read.
            plan: What it is brought to.
            case: Its id, for the message.

        Raises:
            DatasetError: If the machine's whole memory is less.
        """
        geometry = volume.geometry
        steps = geometry.steps_to(plan.orientation_of(geometry))
        target = network_grid(geometry.reordered(*steps), plan)
        voxels, prepared = prod(geometry.grid_size), prod(target.grid_size)
        needed = _BYTES_OF_A_CHANNEL * len(volume.array) * (voxels + prepared)
        needed += _BYTES_OF_LABELS * prepared
        if needed > self._total:
            spacing = " x ".join(f"{mm:.3g}" for mm in geometry.spacing_mm)
            size = " x ".join(map(str, target.grid_size))
            raise DatasetError(
                "At the spacing of the plan each case must fit into memory.",
                received=f"voxels of {spacing} mm in {case}, which become {size} and need "
                f"{needed / 2**30:.3g} of {self._total / 2**30:.3g} GiB",
                cure="Check the spacing in the file's header, crop the case, or take it out; "
                "--config 3d_low needs less.",
            )
        return needed
