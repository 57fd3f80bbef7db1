"""How sure a prediction was: a probability for each structure in each voxel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from medseg.errors import DifferentSpace, EvaluationError
from medseg.report.scores.structures import Structures
from medseg.types import AnyArray
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume

_ROUNDING = 1e-3
"""How far a probability may lie outside of 0 to 1: files hold rounded numbers."""


def read_probabilities(
    path: Path, structures: Structures, grid: Geometry
) -> Callable[[str], AnyArray]:
    """Read the probabilities of a case.

    Args:
        path: An image of one channel for each label, in the order of their values; a channel for
            the background may be the first.
        structures: The labels. A region's probability is the sum of its values'.
        grid: The grid of the reference.

    Returns:
        A function from the name of a structure to its probability, shape (I, J, K).

    Raises:
        EvaluationError: If the channels are not those of the labels, or hold no probabilities.
        DifferentSpace: If the grid is another.
        FileError: If the file cannot be read.
    """
    volume = read_volume(path)
    if not volume.geometry.same_space(grid):
        volume = volume.reoriented(grid.orientation)
    if not volume.geometry.same_space(grid):
        raise DifferentSpace(
            f"One grid must hold {path.name} and its reference.",
            received=f"{volume.geometry.grid_size} against {grid.grid_size} voxels, spacing "
            f"{volume.geometry.spacing_mm} against {grid.spacing_mm} mm",
            cure="Write probabilities on the grid of the image.",
        )
    values, channels = sorted(structures.values), volume.array
    if len(channels) not in (len(values), len(values) + 1):
        raise EvaluationError(
            "Probabilities have a channel for each label; one of the background may come first.",
            received=f"{len(channels)} channels in {path.name}, labels {values}",
            cure="Name the labels with --labels, or write the channels anew.",
        )
    low, high = float(channels.min()), float(channels.max())
    if not (low >= -_ROUNDING and high <= 1.0 + _ROUNDING):
        raise EvaluationError(
            "Probabilities lie between 0 and 1.",
            received=f"{low:.4g} to {high:.4g} in {path.name}",
            cure="Apply softmax or sigmoid to logits, and divide percentages by 100.",
        )
    channel_of = dict(zip(values, channels[len(channels) - len(values) :], strict=True))

    def probability(name: str) -> AnyArray:
        parts = [channel_of[value] for value in structures.values_of(name)]
        return np.asarray(np.clip(np.sum(parts, axis=0), 0.0, 1.0))

    return probability
