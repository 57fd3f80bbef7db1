"""Label files as they are stored, before anything is known about their values."""

from pathlib import Path

import numpy as np

from medseg.types import AnyArray
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, read_volume

_PALETTE_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")


def raw_label(path: Path) -> tuple[AnyArray, Geometry]:
    """Values as they are stored, shape (I, J, K); a palette's numbers and not its colours.

    Raises:
        LabelError: If the file holds colours or several channels.
        FileError: If it cannot be read.
    """
    volume = None if path.suffix.lower() in _PALETTE_PICTURES else read_volume(path)
    if volume is None or volume.array.shape[0] != 1:
        label_map = read_label_map(path)
        return label_map.array, label_map.geometry
    return volume.array[0], volume.geometry


def count_fractions(array: AnyArray) -> int:
    """How many values are no whole numbers."""
    return int((~(np.isfinite(array) & (array == np.rint(array)))).sum())
