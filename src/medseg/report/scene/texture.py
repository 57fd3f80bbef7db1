"""An image as bytes for moving slices: coarser, in grey, and all slices on one picture."""

from dataclasses import dataclass

import numpy as np

from medseg.report.plots.slices import Grey, data_uri, grey, shown_range
from medseg.report.scene.blocks import block_means, block_sizes
from medseg.types import FloatArray, GridSize
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Volume

MOST_VOXELS = 4_000_000
"""Of a texture; a scan of 512 x 512 x 200 is shown at about 2.5 mm."""

MOST_ALONG = 256
"""Texels along any axis: what a browser moves smoothly."""

MOST_CHARACTERS = 4_400_000
"""Of a texture's picture within a page; a noisy image is made coarser until it fits."""


@dataclass(frozen=True, eq=False)
class Texture:
    """What a page needs to draw any axial, coronal or sagittal slice.

    Attributes:
        address: The picture as a data address: axial slices from below upwards, in rows of
            `columns`, each with x to the right along I and y downwards along J.
        grid_size: Of the texture; I runs to the Right, J to the front, K to the head.
        columns: Slices in a row of the picture.
        centres: Index of each texel along I, J and K on `geometry`.
        geometry: The image's own grid in RAS order.
        low: The value shown black.
        high: The value shown white.
        joined: Voxels of the image in a texel, along I, J and K.
    """

    address: str
    grid_size: GridSize
    columns: int
    centres: tuple[FloatArray, FloatArray, FloatArray]
    geometry: Geometry
    low: float
    high: float
    joined: GridSize


def texture_of(volume: Volume, *, most_voxels: int = MOST_VOXELS) -> Texture:
    """The first channel of an image as a texture; see `slices.shown_range` for what is black.

    Args:
        volume: Of three dimensions, in any orientation.
        most_voxels: Of the texture. Block means make it so small; nothing is skipped.
    """
    lying = volume.reoriented("RAS")
    while True:
        joined = block_sizes(
            lying.geometry.grid_size,
            lying.spacing_mm,
            most_voxels=most_voxels,
            most_along=MOST_ALONG,
        )
        texture = _texture(lying, joined)
        if len(texture.address) <= MOST_CHARACTERS:
            return texture
        most_voxels = most_voxels * 2 // 3


def _texture(volume: Volume, joined: GridSize) -> Texture:
    blocks = block_means(volume.array[0], joined)
    size = blocks.values.shape
    whole = Volume(
        blocks.values[np.newaxis],
        Geometry.from_spacing((1.0, 1.0, 1.0), (size[0], size[1], size[2])),
        volume.channel_names[:1],
        volume.source,
    )
    low, high = shown_range(whole)
    pixels, columns = _side_by_side(grey(blocks.values, low, high))
    return Texture(
        data_uri(pixels), (size[0], size[1], size[2]), columns, blocks.centres, volume.geometry,
        low, high, joined,
    )  # fmt: skip


def _side_by_side(values: Grey) -> tuple[Grey, int]:
    """All slices (I, J, K) on one picture that is about as wide as high, and how many in a row."""
    size_i, size_j, size_k = values.shape
    columns = max(1, min(size_k, round((size_k * size_j / size_i) ** 0.5)))
    rows = -(-size_k // columns)
    tiles = np.zeros((rows * columns, size_j, size_i), np.uint8)
    tiles[:size_k] = values.transpose(2, 1, 0)
    picture = tiles.reshape(rows, columns, size_j, size_i).transpose(0, 2, 1, 3)
    return picture.reshape(rows * size_j, columns * size_i), columns
