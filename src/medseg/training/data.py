"""Batches that depend on nothing but the seed and the number of the step.

Which cases, which centres, which augmentation: all is drawn from a generator seeded with
(seed, fold, step, sample). A resumed training needs no state of its workers, and neither their
number nor their timing can change what it sees.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medseg.dataset.plan import Plan
from medseg.dataset.store import Store
from medseg.errors import MedsegError, UnreadableFile
from medseg.transforms.pipeline import training_sample
from medseg.types import FloatArray, IntArray

Batch = tuple[Tensor, Tensor]
"""Image (B, C, *patch) float32 and class indices (B, *patch) int64."""

_DEPTH = 3
"""Batches that are prepared ahead."""

_SAMPLE, _ORDER = 0, 1
"""What is drawn: a sample of a step, or the order of the cases in an epoch."""


class Part(NamedTuple):
    """Which samples of each batch a process takes.

    Attributes:
        rank: Number of the process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def of(self, samples: int) -> range:
        """Numbers of its samples, of so many; parts differ by one sample at most."""
        return range(self.rank * samples // self.size, (self.rank + 1) * samples // self.size)


WHOLE = Part()
"""One process takes all samples."""


class Batches:
    """The batches of one training.

    Args:
        store: Preprocessed cases.
        ids: Cases to train on; each pass goes through all of them in a new order.
        plan: Patch, batch size and augmentation.
        seed: Seed of the run.
        fold: Number of the fold, so that folds see different draws.
        part: Which samples of each batch are made.
    """

    def __init__(
        self,
        store: Store,
        ids: Sequence[str],
        plan: Plan,
        *,
        seed: int,
        fold: int = 0,
        part: Part = WHOLE,
    ) -> None:
        self._samples = part.of(plan.recipe.batch_size)
        self._store, self._ids = store, tuple(ids)
        self._plan, self._seed, self._fold = plan, seed, fold
        self._flat = plan.network.dims == 2
        self._order = lru_cache(maxsize=2)(self._draw_order)

    @property
    def batch_size(self) -> int:
        """Patches in a batch, all parts together."""
        return self._plan.recipe.batch_size

    def steps_of(self, epochs: float) -> int:
        """Steps that so many passes over the cases take."""
        return max(1, round(epochs * len(self._ids) / self.batch_size))

    def epochs_of(self, steps: int) -> float:
        """Passes over the cases that so many steps make."""
        return steps * self.batch_size / len(self._ids)

    def batch(self, step: int) -> Batch:
        """The batch of a step, or the part of it that is made here."""
        return self._stack([self._sample(step, n) for n in self._samples])

    @contextmanager
    def starting_at(self, step: int, *, workers: int) -> Iterator[Iterator[Batch]]:
        """The batches from a step on, without end, prepared ahead by so many threads.

        Args:
            step: The first step.
            workers: Threads; with 0 each batch is made when it is asked for.
        """
        if workers == 0:
            yield self._one_by_one(step)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="samples")
        try:
            yield self._ahead(step, pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _one_by_one(self, step: int) -> Iterator[Batch]:
        while True:
            yield self.batch(step)
            step += 1

    def _ahead(self, step: int, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        waiting: deque[list[Future[tuple[FloatArray, IntArray]]]] = deque()
        while True:
            while len(waiting) < _DEPTH:
                number = step + len(waiting)
                waiting.append([pool.submit(self._sample, number, n) for n in self._samples])
            yield self._stack([future.result() for future in waiting.popleft()])
            step += 1

    def _sample(self, step: int, n: int) -> tuple[FloatArray, IntArray]:
        epoch, place = divmod(step * self.batch_size + n, len(self._ids))
        case_id = self._ids[self._order(epoch)[place]]
        try:
            case = self._store.case(case_id)
            return training_sample(case, self._plan, self._generator(_SAMPLE, step, n))
        except MedsegError as error:
            rule = f"Case {case_id}: {error.rule}"
            raise type(error)(rule, received=error.received, cure=error.cure) from error
        except (OSError, EOFError, ValueError) as error:
            raise _unreadable(case_id, self._store.folder, error) from error

    def _draw_order(self, epoch: int) -> list[int]:
        places = self._generator(_ORDER, epoch).permutation(len(self._ids))
        return [int(place) for place in places]

    def _generator(self, *key: int) -> np.random.Generator:
        sequence = np.random.SeedSequence(self._seed, spawn_key=(self._fold, *key))
        return np.random.default_rng(sequence)

    def _stack(self, samples: Sequence[tuple[FloatArray, IntArray]]) -> Batch:
        image = torch.from_numpy(np.stack([image for image, _ in samples]).astype(np.float32))
        labels = torch.from_numpy(np.stack([labels for _, labels in samples]).astype(np.int64))
        return (image[..., 0], labels[..., 0]) if self._flat else (image, labels)


def _unreadable(case_id: str, folder: Path, error: Exception) -> UnreadableFile:
    """What a worker met, in the words of the first cause, with the name of its case."""
    return UnreadableFile(
        f"Each preprocessed case must be readable while it is trained on; {case_id} is not.",
        received=" ".join(str(error).split()) or type(error).__name__,
        cure=f"Remove the folder of that case in {folder}, and go on with --resume: it is made "
        "again from the data set.",
    )
