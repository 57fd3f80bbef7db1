"""Numbers and programs as text within a page: whole numbers of few bytes, gzip, base64."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.report.scene.mesh import Surface
from medseg.types import AnyArray

_LARGEST = 65535


@dataclass(frozen=True)
class Box:
    """Where vertices lie, and how fine their steps are.

    Attributes:
        low_mm: Least R, A and S.
        step_mm: Length of one of 65,535 steps along each axis.
    """

    low_mm: tuple[float, float, float]
    step_mm: tuple[float, float, float]


@dataclass
class Pack:
    """Arrays one after another; each knows where it begins."""

    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def add(self, array: AnyArray) -> int:
        """Append an array, little-endian; its first byte's place."""
        held = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        start = self._size
        self._parts.append(held.tobytes())
        self._size += held.nbytes
        return start

    def text(self) -> str:
        """All of it, for `atob` and a `DecompressionStream`."""
        return packed(b"".join(self._parts))


def packed(content: bytes) -> str:
    """Bytes as gzip in base64; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def box_around(surfaces: Sequence[Surface]) -> Box:
    """The box that holds all surfaces."""
    if not surfaces:
        return Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    low = np.min([one.vertices_mm.min(axis=0) for one in surfaces], axis=0).astype(float)
    high = np.max([one.vertices_mm.max(axis=0) for one in surfaces], axis=0).astype(float)
    x, y, z = (np.maximum(high - low, 1e-3) / _LARGEST).tolist()
    return Box((float(low[0]), float(low[1]), float(low[2])), (x, y, z))


def add_surface(
    pack: Pack,
    surface: Surface,
    box: Box,
    distances_mm: npt.NDArray[np.float32] | None,
    most: float,
) -> dict[str, Any]:
    """Append one surface, and say where its parts begin.

    Args:
        pack: Where to.
        surface: Vertices are written as steps within `box`: their error is half a step.
        box: Around all surfaces of the page.
        distances_mm: Of the vertices, or None; those above `most` are written as `most`.
        most: Largest distance that is written.
    """
    steps = np.rint((surface.vertices_mm - np.asarray(box.low_mm)) / np.asarray(box.step_mm))
    wide = len(surface.vertices_mm) > _LARGEST + 1
    places: dict[str, Any] = {
        "vertices": len(surface.vertices_mm),
        "triangles": len(surface.triangles),
        "corners_at": pack.add(surface.triangles.T.astype(np.uint32 if wide else np.uint16)),
        "wide": wide,
        "places_at": pack.add(np.clip(steps, 0, _LARGEST).T.astype(np.uint16)),
    }
    if distances_mm is not None:
        share = np.clip(distances_mm / most, 0, 1)
        places["distances_at"] = pack.add(np.rint(share * _LARGEST).astype(np.uint16))
    return places


def plotly_program() -> str:
    """The plotly.js that came with the Python package, packed."""
    return packed((files("plotly") / "package_data" / "plotly.min.js").read_bytes())
