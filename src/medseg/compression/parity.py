"""Whether an engine gives the logits of the weights, on the same patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from medseg.errors import EngineDiffers
from medseg.inference.engine import Activation, Engine
from medseg.inference.exported import EnginePrecision, Parity
from medseg.types import FloatArray


class Bounds(NamedTuple):
    """What is near enough.

    Attributes:
        largest: Largest difference of two logits, as a share of the largest logit (of 1, if all
            are smaller).
        root_mean_square: That of all differences, as a share of that of the logits.
        dice: Least Dice of the elected classes.
    """

    largest: float
    root_mean_square: float
    dice: float


BOUNDS: dict[EnginePrecision, Bounds] = {
    "fp32": Bounds(1e-3, 1e-4, 0.999),
    "fp16": Bounds(0.1, 0.02, 0.99),
    "bf16": Bounds(0.2, 0.05, 0.98),
    "int8": Bounds(1.0, 0.06, 0.97),
}
"""INT8 is held to torch's own fake quantisation: one rounding that falls on the other side moves a
value by a whole step. What quantisation costs is judged on whole cases."""


@dataclass
class _Sums:
    """What has been compared so far."""

    patches: int = 0
    largest_logit: float = 0.0
    largest_difference: float = 0.0
    squares: float = 0.0
    differences: float = 0.0
    values: int = 0
    both: int = 0
    either: int = 0


class Comparison:
    """Collects how near engines are to networks.

    Args:
        activation: How classes are elected.
        source: Where patches come from.
        against: What torch computes with.
    """

    def __init__(self, activation: Activation, *, source: str, against: str) -> None:
        self._activation, self._sums = activation, _Sums()
        self._source, self._against = source, against

    def add(self, engine: Engine, network: nn.Module, batches: Sequence[FloatArray]) -> None:
        """Compare one engine with one network, a batch of two patches among the patches.

        Args:
            engine: What is checked.
            network: In eval mode, on the CPU.
            batches: Patches, each of shape (B, C, *patch).
        """
        pairs = [np.concatenate(batches[:2]), *batches[2:]]
        for batch in pairs:
            with torch.inference_mode():
                expected = network(torch.from_numpy(batch)).numpy()
            self._count(engine.run(batch), expected)

    def _count(self, found: FloatArray, expected: FloatArray) -> None:
        sums = self._sums
        difference = np.abs(found - expected)
        sums.patches += len(found)
        sums.values += found.size
        sums.largest_logit = max(sums.largest_logit, float(np.abs(expected).max()))
        sums.largest_difference = max(sums.largest_difference, float(difference.max()))
        sums.squares += float(np.square(expected, dtype=np.float64).sum())
        sums.differences += float(np.square(difference, dtype=np.float64).sum())
        one, other = self._elected(found), self._elected(expected)
        sums.both += 2 * int(((one == other) & (one > 0)).sum())
        sums.either += int((one > 0).sum() + (other > 0).sum())

    def _elected(self, logits: FloatArray) -> "np.typing.NDArray[np.int64]":
        if self._activation == "sigmoid":
            return np.asarray(logits > 0, np.int64)
        return np.asarray(logits.argmax(axis=1))

    def require_near(self, precision: EnginePrecision, *, name: str) -> Parity:
        """Pass if all that was compared is near enough.

        Args:
            precision: What the engine computes with.
            name: Of the engine, for the message.

        Raises:
            EngineDiffers: If it is not; NaN never is.
        """
        sums, bounds = self._sums, BOUNDS[precision]
        size = np.sqrt(sums.squares / max(1, sums.values))
        noise = np.sqrt(sums.differences / max(1, sums.values))
        parity = Parity(
            patches=sums.patches,
            source=self._source,
            against=self._against,
            largest_logit=sums.largest_logit,
            largest_difference=sums.largest_difference,
            root_mean_square=float(noise),
            dice=sums.both / sums.either if sums.either else 1.0,
        )
        is_near = (
            parity.largest_difference <= bounds.largest * max(1.0, parity.largest_logit)
            and noise <= bounds.root_mean_square * max(size, 1e-6)
            and parity.dice >= bounds.dice
        )
        if not is_near:
            raise EngineDiffers(
                "An engine gives the logits of the weights, within the bounds of its precision.",
                received=f"{name}: Dice {parity.dice:.4f}, logits that differ by up to "
                f"{parity.largest_difference:.3g} of {parity.largest_logit:.3g}, "
                f"{100 * noise / max(size, 1e-6):.2g} % of their size on average "
                f"({parity.patches} patches, {parity.source})",
                cure="Export in fp32, or to another runtime; nothing was kept.",
            )
        return parity
