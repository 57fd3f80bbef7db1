"""Structures as surfaces in millimetres: marching cubes, smoothed, thinned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medseg.errors import InvalidGeometry
from medseg.progress import SILENT, Progress
from medseg.report.scene.blocks import Blocks, block_means, block_sizes
from medseg.report.scene.mesh_kernels import least_distances, normals_of, smoothed, triangles_at
from medseg.types import AnyArray, FloatArray, IntArray
from medseg.volume.geometry import Geometry
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

MOST_TRIANGLES = 240_000
"""Of all surfaces of a scene together."""

LEAST_TRIANGLES = 200
"""Of one surface, however small it is beside the others."""

MOST_STRUCTURES = 150
"""That are drawn: each has its own trace, and a browser slows down with their number."""

SMOOTHING_ROUNDS = 10
"""Pairs of steps: enough for terraces; more make thin structures thinner."""

SMALLEST_SMOOTHED = 60
"""Vertices of a part that is smoothed; 3 x 3 x 3 voxels have 54, and would shrink to a pea."""

Box = tuple[slice, ...]
"""Where a structure lies on the grid."""

_MOST_CUBES = 12_000_000
_NEAR_VERTICES = 4


@dataclass(frozen=True, eq=False)
class Surface:
    """The closed surface of one structure.

    Attributes:
        label: Which structure it is.
        vertices_mm: RAS positions, float32, shape (n, 3).
        triangles: Corners, counter-clockwise as seen from outside, int32, shape (m, 3).

    Raises:
        InvalidGeometry: If there is no triangle, or a corner that is no vertex.
    """

    label: Label
    vertices_mm: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        shapes = (self.vertices_mm.shape[1:], self.triangles.shape[1:])
        if shapes != ((3,), (3,)) or self.triangles.size == 0:
            raise InvalidGeometry(
                "A surface has vertices (n, 3) and at least one triangle (m, 3).",
                received=f"{self.vertices_mm.shape} and {self.triangles.shape}",
            )
        if self.triangles.min() < 0 or self.triangles.max() >= len(self.vertices_mm):
            raise InvalidGeometry(
                "Corners of triangles are vertices.",
                received=f"corner {self.triangles.max()} of {len(self.vertices_mm)} vertices",
            )

    @cached_property
    def area_mm2(self) -> float:
        """Area of all triangles."""
        a, b, c = (self.vertices_mm[self.triangles[:, n]].astype(np.float64) for n in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    @cached_property
    def volume_ml(self) -> float:
        """What the surface encloses."""
        a, b, c = (self.vertices_mm[self.triangles[:, n]].astype(np.float64) for n in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6 / 1000)

    @cached_property
    def normals(self) -> FloatArray:
        """Unit normals of the vertices, pointing outwards, shape (n, 3)."""
        return np.asarray(normals_of(self.vertices_mm.astype(np.float64), self.triangles))


def surfaces_of(label_map: LabelMap, *, progress: Progress = SILENT) -> tuple[Surface, ...]:
    """The surface of each structure that a label map holds, at full detail.

    Marching cubes at half of the binary mask, which puts the surface half a voxel outside of the
    outermost voxel centres, then smoothing: no vertex leaves half a voxel (half a block, where a
    structure spans more than twelve million voxels and was made coarser by block means first).
    Separate parts of a few voxels stay as the cubes left them, so that none is smoothed away.
    What is thinner than two voxels comes out thinner than it is: count volumes on the mask.

    Args:
        label_map: Structures that do not occur have no surface; of more than `MOST_STRUCTURES` the
            largest are taken.
        progress: Told after each structure.

    Source:
        Lewiner et al., Journal of Graphics Tools 8(2), 2003, as in scikit-image.
    """
    from scipy.ndimage import find_objects

    boxes: list[Box | None] = list(find_objects(label_map.array))
    held = [label for label in label_map.labels if _box_of(boxes, label) is not None]
    if len(held) > MOST_STRUCTURES:
        volumes = label_map.volumes_ml()
        largest = sorted(held, key=lambda label: -volumes[label.name])[:MOST_STRUCTURES]
        held = [label for label in held if label in largest]
    found = []
    with progress.task("Building surfaces", len(held)) as task:
        for label in held:
            box = _box_of(boxes, label)
            if box is not None:
                mask = label_map.array[box] == label.value
                start = [side.start for side in box]
                found.append(_surface(label, mask, start, label_map.geometry))
            task.advance()
    return tuple(found)


def decimated(
    surfaces: Sequence[Surface],
    *,
    most_triangles: int = MOST_TRIANGLES,
    progress: Progress = SILENT,
) -> tuple[Surface, ...]:
    """Surfaces of so few triangles that a page stays small; the larger an area, the more it keeps.

    Args:
        surfaces: At full detail.
        most_triangles: Of all together; each keeps at least `LEAST_TRIANGLES`, or an equal share
            where there are too many surfaces for that.
        progress: Told after each surface.

    Source:
        Garland and Heckbert, SIGGRAPH 1997 (quadric errors), as in fast-simplification.
    """
    targets = _shares([surface.area_mm2 for surface in surfaces], most_triangles)
    found = []
    with progress.task("Making surfaces lighter", len(surfaces)) as task:
        for surface, target in zip(surfaces, targets, strict=True):
            found.append(_decimated(surface, target))
            task.advance()
    return tuple(found)


def distances_mm(surface: Surface, other: Surface) -> npt.NDArray[np.float32]:
    """How far each vertex of a surface lies from another surface, in millimetres, shape (n,).

    Exact to the triangles around the nearest four vertices of the other surface; give that one at
    full detail.
    """
    from scipy.spatial import cKDTree

    points = surface.vertices_mm.astype(np.float64)
    there = other.vertices_mm.astype(np.float64)
    near = cKDTree(there).query(points, k=min(_NEAR_VERTICES, len(there)))[1]
    begin, listed = triangles_at(other.triangles, len(there))
    near = near.reshape(len(points), -1)
    return np.asarray(
        least_distances(points, near, there, other.triangles, begin, listed), np.float32
    )


def _box_of(boxes: Sequence[Box | None], label: Label) -> Box | None:
    """Where a structure lies, or None where it does not occur."""
    return boxes[label.value - 1] if label.value <= len(boxes) else None


def _surface(label: Label, mask: AnyArray, start: Sequence[int], geometry: Geometry) -> Surface:
    from skimage.measure import marching_cubes

    sizes = block_sizes(mask.shape, geometry.spacing_mm, most_voxels=_MOST_CUBES)
    blocks = block_means(mask, sizes)
    held = np.pad(blocks.values, 1)
    level = 0.5 if held.max() > 0.5 else float(held.max()) / 2
    corners, triangles, _, _ = marching_cubes(held, level)
    triangles = triangles.astype(np.int32)
    steps_mm = np.multiply(sizes, geometry.spacing_mm)
    room = _room(triangles, len(corners))
    corners = smoothed(corners.astype(np.float64), triangles, room, steps_mm, SMOOTHING_ROUNDS) - 1
    world = geometry.index_to_world(_on_finer_grid(corners, blocks, sizes) + np.asarray(start))
    if np.linalg.det(geometry.affine[:3, :3]) > 0:
        triangles = triangles[:, ::-1]
    return Surface(label, world.astype(np.float32), np.ascontiguousarray(triangles))


def _room(triangles: IntArray, vertices: int) -> FloatArray:
    """How far each vertex may go, in voxels: half of one, but nowhere on parts of a few voxels."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    joined = coo_array((np.ones(len(edges), np.int8), edges.T), shape=(vertices, vertices))
    part = connected_components(joined, directed=False)[1]
    return np.asarray(np.where(np.bincount(part)[part] < SMALLEST_SMOOTHED, 0.0, 0.5))


def _on_finer_grid(corners: FloatArray, blocks: Blocks, sizes: Sequence[int]) -> FloatArray:
    """From positions among blocks to positions among the voxels that they were made from."""
    found = np.empty_like(corners)
    for axis, (centres, size) in enumerate(zip(blocks.centres, sizes, strict=True)):
        around = np.concatenate([[centres[0] - size], centres, [centres[-1] + size]])
        found[:, axis] = np.interp(corners[:, axis], np.arange(-1, len(centres) + 1), around)
    return found


def _shares(areas: Sequence[float], total: int) -> IntArray:
    """Whole numbers that sum up to at most `total`: an equal floor, and the rest by area."""
    if not areas:
        return np.zeros(0, np.int64)
    floor = min(LEAST_TRIANGLES, total // len(areas))
    rest = total - floor * len(areas)
    weights = np.asarray(areas) / max(float(np.sum(areas)), 1e-12)
    return np.asarray(np.floor(floor + rest * weights), np.int64)


def _decimated(surface: Surface, target: int) -> Surface:
    from fast_simplification import simplify

    if len(surface.triangles) <= target:
        return surface
    centre = surface.vertices_mm.mean(axis=0)
    edge_mm = max((surface.area_mm2 / len(surface.triangles)) ** 0.5, 1e-6)
    corners, triangles = simplify(
        (surface.vertices_mm - centre) / edge_mm, surface.triangles, target_count=max(target, 4)
    )
    if len(triangles) == 0:
        return surface
    return replace(
        surface,
        vertices_mm=np.asarray(corners * edge_mm + centre, np.float32),
        triangles=np.asarray(triangles, np.int32),
    )
