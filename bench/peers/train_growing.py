"""`train_cpu.py` with patches that grow: half of each edge first, then three quarters, then whole.

A step on a small patch costs less, so that there are more of them while the rate is high.

    python bench/peers/train_growing.py DATASET OUT 240 --plan plan.json --split split.json
"""

import sys
import time

import train_cpu

from medseg.specs.settings import fitting_grid
from medseg.training import fold
from medseg.training.data import Batch, Batches

EDGES = ((1 / 3, 0.5), (2 / 3, 0.75), (1.1, 1.0))
"""Until which share of the time patches have which share of their edges."""


class Growing(Batches):
    """Batches whose patches grow with the time of this process."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, of the size that is due."""
        share = time.process_time() / float(sys.argv[3])
        edge = next(edge for until, edge in EDGES if share < until or edge == 1)
        whole, network = self._plan.patch_size, self._plan.network
        i, j, *k = fitting_grid(
            tuple(max(1, round(edge * n)) for n in whole[: network.dims]), network.divisor
        )
        small = self._plan.model_copy(update={"patch_size": (i, j, k[0] if k else 1)})
        samples, plan = [], self._plan
        self._plan = small
        try:
            samples = [self._sample(step, n) for n in self._samples]
        finally:
            self._plan = plan
        return self._stack(samples)


if __name__ == "__main__":
    fold.Batches = Growing
    train_cpu.main()
