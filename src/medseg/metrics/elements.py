"""Areas of surface elements: what marching cubes draws through eight neighbouring voxels.

A *surface element* lies where four neighbouring pixels (eight voxels) meet and do not all belong to
the same side. Which of them belong to the structure is its *code*: one bit each, the highest for
the first in the order of the grid. Its length (area) is that of the line (polygon) through the
middles of the edges between inside and outside. Two rules settle what this leaves open. A face
whose corners alternate is cut so that each corner of the rarer side stands alone, and a polygon
that is not flat is triangulated with the largest area in the unit cube. All 16 lengths and 256
areas are then those of google-deepmind/surface-distance.

Source:
    Lorensen and Cline, Computer Graphics 21(4), 1987; Nikolov et al., Journal of Medical Internet
    Research 23(7), 2021.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from medseg.types import SpacingMm

Measures = npt.NDArray[np.float64]
"""Length in mm or area in mm² of each code."""

_Point = tuple[float, ...]
_Segment = tuple[_Point, _Point]
_Triangle = tuple[_Point, _Point, _Point]


def contour_lengths(spacing_mm: tuple[float, float]) -> Measures:
    """Length in mm of the contour element of each of the 16 codes of 2x2 pixels.

    Args:
        spacing_mm: Distance between pixel centres along both axes.
    """
    lengths = np.zeros(16)
    for code in range(1, 15):
        inside = _inside(code, 2)
        ring = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0))
        for start, end in _segments(ring, inside):
            lengths[code] += np.linalg.norm(np.subtract(end, start) * spacing_mm)
    return lengths


def surface_areas(spacing_mm: SpacingMm) -> Measures:
    """Area in mm² of the surface element of each of the 256 codes of 2x2x2 voxels.

    Args:
        spacing_mm: Distance between voxel centres along each axis.
    """
    a, b, c = spacing_mm
    areas: Measures = np.linalg.norm(_normals() * (b * c, a * c, a * b), axis=-1).sum(axis=-1)
    return areas


@lru_cache(maxsize=1)
def _normals() -> npt.NDArray[np.float64]:
    """Normals of the triangles of each code in the unit cube, their areas long: (256, 4, 3)."""
    normals = np.zeros((256, 4, 3))
    for code in range(1, 255):
        polygons = _polygons(_inside(code, 3))
        drawn = [normal for polygon in polygons for normal in _largest(polygon)]
        normals[code, : len(drawn)] = drawn
    return normals


def _inside(code: int, axes: int) -> dict[_Point, bool]:
    """Which corners of the unit square or cube belong to the structure."""
    corners = product((0.0, 1.0), repeat=axes)
    return {corner: bool(code >> (2**axes - 1 - n) & 1) for n, corner in enumerate(corners)}


def _segments(ring: Sequence[_Point], inside: dict[_Point, bool]) -> list[_Segment]:
    """The lines across one face, whose four corners come in turn."""
    sides = [inside[corner] for corner in ring]
    middles = [
        tuple((p + q) / 2 for p, q in zip(ring[n - 1], ring[n], strict=True)) for n in range(4)
    ]
    cut = [n for n in range(4) if sides[n - 1] != sides[n]]
    if len(cut) < 4:
        return [(middles[cut[0]], middles[cut[1]])] if cut else []
    rarer = 2 * sum(inside.values()) <= len(inside)
    return [(middles[n], middles[(n + 1) % 4]) for n in range(4) if sides[n] == rarer]


def _polygons(inside: dict[_Point, bool]) -> list[list[_Point]]:
    """The closed lines that the segments of the six faces form."""
    ends: dict[_Point, list[_Point]] = {}
    for axis, level in product(range(3), (0.0, 1.0)):
        flat = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0))
        ring = [(*corner[:axis], level, *corner[axis:]) for corner in flat]
        for start, end in _segments(ring, inside):
            ends.setdefault(start, []).append(end)
            ends.setdefault(end, []).append(start)
    polygons = []
    while ends:
        point: _Point | None = next(iter(ends))
        polygon: list[_Point] = []
        while point is not None:
            polygon.append(point)
            point = next((end for end in ends.pop(point) if end in ends), None)
        polygons.append(polygon)
    return polygons


def _largest(polygon: Sequence[_Point]) -> npt.NDArray[np.float64]:
    """The normals of the triangulation with the largest area, shape (n, 3)."""
    drawings = np.array(list(_triangulations(polygon)))
    sides = drawings[:, :, 1:] - drawings[:, :, :1]
    normals: npt.NDArray[np.float64] = np.cross(sides[:, :, 0], sides[:, :, 1]) / 2
    areas = np.linalg.norm(normals, axis=-1).sum(axis=-1)
    best: npt.NDArray[np.float64] = normals[int(np.argmax(areas.round(9)))]
    return best


def _triangulations(polygon: Sequence[_Point]) -> Iterator[list[_Triangle]]:
    """All ways to cut a polygon into triangles."""
    if len(polygon) < 3:
        yield []
    for n in range(1, len(polygon) - 1):
        for before in _triangulations(polygon[: n + 1]):
            for after in _triangulations(polygon[n:]):
                yield [*before, (polygon[0], polygon[n], polygon[-1]), *after]
