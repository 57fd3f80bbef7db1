"""Intensities of one channel made comparable between cases; each kind told apart by `kind`."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from medseg.specs import FROZEN
from medseg.types import AnyArray, Mask

SMALLEST_STD = 1e-8
"""A channel that varies less is constant: it is centred and not scaled."""

_VALUES_AT_ONCE = 1 << 20
"""Whose squares are held at the same time."""


class ZScore(BaseModel):
    """Each case and channel gets mean 0 and standard deviation 1 (MR, PET, grey pictures).

    Attributes:
        inside_nonzero: Whether only voxels that are not 0 count; the others stay 0.
    """

    model_config = FROZEN

    kind: Literal["z_score"] = "z_score"
    inside_nonzero: bool = False


class ClipAndScale(BaseModel):
    """Clipped to `low` and `high`, then scaled alike in all cases (CT and SUV, which have a unit).

    Attributes:
        low: 0.5th percentile of the foreground voxels of the training cases; 0 for SUV, whose
            background says what is there too.
        high: 99.5th percentile.
        mean: Mean of those voxels.
        std: Their standard deviation.
    """

    model_config = FROZEN

    kind: Literal["clip_and_scale"] = "clip_and_scale"
    low: float
    high: float
    mean: float
    std: float = Field(ge=0)


class UnitRange(BaseModel):
    """Divided by the largest value of the pixel type (RGB pictures).

    Attributes:
        scale: What becomes 1.
    """

    model_config = FROZEN

    kind: Literal["unit_range"] = "unit_range"
    scale: float = Field(gt=0)


class MinMax(BaseModel):
    """The smallest value of each case and channel becomes 0 and the largest 1, as nnU-Net can."""

    model_config = FROZEN

    kind: Literal["min_max"] = "min_max"


Way = ZScore | ClipAndScale | UnitRange | MinMax

Normalisation = Annotated[Way, Field(discriminator="kind")]
"""What is done to one channel."""


def normalise(channel: AnyArray, how: Way, nonzero: Mask | None = None) -> npt.NDArray[np.float32]:
    """Apply one rule to one channel.

    Args:
        channel: Real numbers, shape (I, J, K).
        how: The rule.
        nonzero: Where any channel of the case is not 0, shape (I, J, K); needed by a z-score
            inside it.

    Returns:
        A new array of the same shape. Finite for finite input: a constant channel becomes 0.
    """
    values = np.array(channel, dtype=np.float32, order="C")
    match how:
        case UnitRange():
            values /= np.float32(how.scale)
        case MinMax():
            values -= values.min()
            values /= max(values.max(), np.float32(SMALLEST_STD))
        case ClipAndScale():
            np.clip(values, how.low, how.high, out=values)
            values -= np.float32(how.mean)
            values /= np.float32(max(how.std, SMALLEST_STD))
        case ZScore(inside_nonzero=True) if nonzero is not None:
            inside = values[nonzero]
            if inside.size:
                values[nonzero] = _standard(inside)
            values[~nonzero] = 0
        case ZScore():
            values = _standard(values)
    return values


def _standard(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean 0 and standard deviation 1; sums in float64, since intensities may reach millions."""
    mean = values.mean(dtype=np.float64)
    values -= np.float32(mean)
    flat = values.reshape(-1)
    squares = sum(
        float(np.square(flat[start : start + _VALUES_AT_ONCE]).sum(dtype=np.float64))
        for start in range(0, flat.size, _VALUES_AT_ONCE)
    )
    std = float(np.sqrt(squares / flat.size))
    if std > SMALLEST_STD * max(1.0, abs(float(mean))):
        values /= np.float32(std)
    else:
        values[:] = 0
    return values
