"""Compiled loops over the pixels of a frame: colours to grey, and masks over pictures."""

import numpy as np
import numpy.typing as npt

from medseg.compiled import compiled
from medseg.types import AnyArray, IntArray

Pixels = npt.NDArray[np.uint8]


def to_luma(array: Pixels) -> Pixels:
    """Colours to grey.

    Args:
        array: RGB, shape (3, I, J, 1).

    Returns:
        Shape (I, J, 1).
    """
    rows_first = array[..., 0].transpose(2, 1, 0)
    grey = np.empty(rows_first.shape[:2], np.uint8)
    _luma(rows_first, grey)
    return grey.T[..., np.newaxis]


def painted(picture: AnyArray, mask: IntArray, colours: Pixels, low: float, high: float) -> Pixels:
    """A picture with a mask over it: structures are tinted, their outlines drawn in full colour.

    Args:
        picture: Shape (rows, columns, 1) or (rows, columns, 3).
        mask: Label values, shape (rows, columns).
        colours: RGB of each label value, shape (largest value + 1, 3).
        low: Value that is shown black.
        high: Value that is shown white; black and white change places where it is the smaller.

    Returns:
        RGB, shape (rows, columns, 3).
    """
    out = np.empty((*picture.shape[:2], 3), np.uint8)
    scale = np.float32(255.0 / (high - low)) if high != low else np.float32(0.0)
    _paint(picture, mask, colours, np.float32(low), scale, out)
    return out


@compiled
def _luma(colour: Pixels, grey: Pixels) -> None:
    for row in range(colour.shape[0]):
        for column in range(colour.shape[1]):
            red = np.uint32(colour[row, column, 0])
            green = np.uint32(colour[row, column, 1])
            blue = np.uint32(colour[row, column, 2])
            total = 19595 * red + 38470 * green + 7471 * blue + 32768
            grey[row, column] = np.uint8(total >> 16)


@compiled
def _paint(
    picture: AnyArray,
    mask: IntArray,
    colours: Pixels,
    low: np.float32,
    scale: np.float32,
    out: Pixels,
) -> None:
    rows, columns, channels = picture.shape
    for row in range(rows):
        for column in range(columns):
            value = mask[row, column]
            inside = (
                (row == 0 or mask[row - 1, column] == value)
                and (row == rows - 1 or mask[row + 1, column] == value)
                and (column == 0 or mask[row, column - 1] == value)
                and (column == columns - 1 or mask[row, column + 1] == value)
            )
            for c in range(3):
                shown = (np.float32(picture[row, column, c % channels]) - low) * scale
                shown = min(max(shown, np.float32(0.0)), np.float32(255.0))
                if value > 0:
                    own = np.float32(colours[value, c])
                    shown = np.float32(0.7) * shown + np.float32(0.3) * own if inside else own
                out[row, column, c] = np.uint8(shown + np.float32(0.5))
