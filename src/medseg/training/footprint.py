"""How much memory a run took: the most that its processes ever held."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from medseg.specs.base import FROZEN


class Footprint(BaseModel):
    """Resident memory of a run on this machine, in GB (10^9 bytes).

    Attributes:
        prepared_gb: Most that the process held until its cases were prepared, with the steps that
            were tried before.
        fold_gb: Most that a process held which trained and judged a fold.
        together_gb: Bound of what all processes held together: as if each had held its most when
            the others did.
    """

    model_config = FROZEN

    prepared_gb: float
    fold_gb: float
    together_gb: float

    @property
    def sentence(self) -> str:
        """In words, for the log."""
        return (
            f"Memory: at most {self.prepared_gb:.2f} GB until the cases were prepared, "
            f"{self.fold_gb:.2f} GB in a process that trained, {self.together_gb:.2f} GB in all."
        )


def footprint(prepared_gb: float, folds_gb: Sequence[float], at_once: int) -> Footprint:
    """What a run took.

    Args:
        prepared_gb: Most that this process held until its cases were prepared.
        folds_gb: Most that the process of each fold held; it is this one where `at_once` is 1.
        at_once: Folds that were trained at the same time, each in a process of its own.
    """
    own = peak_memory_gb()
    largest = max((prepared_gb, *folds_gb) if at_once == 1 else folds_gb, default=own)
    beside = sorted(folds_gb, reverse=True)[:at_once] if at_once > 1 else []
    return Footprint(
        prepared_gb=round(prepared_gb, 3),
        fold_gb=round(largest, 3),
        together_gb=round(max(own, largest) if not beside else own + sum(beside), 3),
    )


def peak_memory_gb() -> float:
    """Most resident memory that this process held since it began, in GB (10^9 bytes)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    # Not on Linux: macOS counts bytes here.
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
