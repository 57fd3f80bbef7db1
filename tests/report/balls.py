"""Balls: the shape of which everything is known."""

import numpy as np

from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

ONE = Label(value=1, name="ball")
TWO = Label(value=7, name="box")


def ball(
    radius_mm: float,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    shift: float = 0.0,
) -> LabelMap:
    """A ball around (shift, 0, 0) in RAS millimetres."""
    half = [int(radius_mm / step) + 4 for step in spacing_mm]
    size = tuple(2 * n + 1 for n in half)
    origin = tuple(-n * step for n, step in zip(half, spacing_mm, strict=True))
    geometry = Geometry.from_spacing(spacing_mm, size, origin_mm=origin)
    i, j, k = np.indices(size)
    places = geometry.index_to_world(np.stack([i, j, k], axis=-1).astype(float)) - (shift, 0, 0)
    inside = np.linalg.norm(places, axis=-1) <= radius_mm
    return LabelMap(inside.astype(np.uint8), geometry, (ONE,))


def two_structures(*, shift: int = 0, second: bool = True) -> LabelMap:
    """Two boxes of 24 x 20 x 16 voxels of 1 x 1 x 1.5 mm, named ball and box, moved along I."""
    array = np.zeros((24, 20, 16), np.uint8)
    array[4 + shift : 11 + shift, 4:14, 3:12] = 1
    if second:
        array[13 + shift : 19 + shift, 6:16, 5:14] = 7
    geometry = Geometry.from_spacing((1.0, 1.0, 1.5), (24, 20, 16), origin_mm=(-10.0, 5.0, 30.0))
    return LabelMap(array, geometry, (ONE, TWO))


def image_of(mask: LabelMap) -> Volume:
    """Grey values in which the structures are brighter than what lies around them."""
    noise = np.random.default_rng(0).normal(100, 8, mask.array.shape)
    array = (noise + 60 * (mask.array > 0)).astype(np.float32)
    return Volume(array[np.newaxis], mask.geometry)
