"""Where a grid of voxels lies in the patient.

World coordinates are RAS millimetres everywhere in medseg (x to the Right, y to the Anterior, z to
the Superior side), as in NIfTI. DICOM and ITK speak LPS: `Geometry.from_lps`, `Geometry.to_lps`
and `lps_to_ras` are the only place where one becomes the other.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.errors import DifferentSpace, InvalidGeometry
from medseg.types import FloatArray, GridSize, SpacingMm

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_ENDS = ("RL", "AP", "SI")

ORTHOGONAL_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as a right angle (as ITK's default)."""

SPACE_TOLERANCE = 0.01
"""Largest distance of two grids' corners, in voxels, at which they still are one grid."""


class LpsFrame(NamedTuple):
    """A grid in the words of ITK and DICOM.

    Attributes:
        origin_mm: Centre of voxel (0, 0, 0), shape (3,), LPS.
        direction: Unit vectors of I, J, K as columns, shape (3, 3), LPS.
        spacing_mm: Distance between voxel centres along I, J, K.
    """

    origin_mm: npt.NDArray[np.float64]
    direction: npt.NDArray[np.float64]
    spacing_mm: SpacingMm


@dataclass(frozen=True, eq=False)
class Geometry:
    """An affine and a grid size; two images are in the same space if these agree.

    Attributes:
        affine: Voxel index (i, j, k, 1) -> RAS millimetres, shape (4, 4), read-only.
        grid_size: Number of voxels along I, J, K. A 2D image has K = 1.

    Raises:
        InvalidGeometry: If the affine is not 4x4, finite and invertible, or an axis is empty.
    """

    affine: npt.NDArray[np.float64]
    grid_size: GridSize

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InvalidGeometry(
                "An affine is a 4x4 matrix of finite numbers.",
                received=f"shape {affine.shape}, finite: {bool(np.isfinite(affine).all())}",
                cure="Repair the header of the file, or convert it again from its source.",
            )
        columns = np.linalg.norm(affine[:3, :3], axis=0)
        if columns.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / columns)) < 1e-6:
            raise InvalidGeometry(
                "The three axes of a grid must span space.",
                received=f"axis lengths {tuple(columns.round(6).tolist())} mm",
                cure="Repair the header of the file, or convert it again from its source.",
            )
        if not np.allclose(affine[3], (0, 0, 0, 1)):
            raise InvalidGeometry(
                "The last row of an affine is 0 0 0 1.", received=str(affine[3].tolist())
            )
        size = tuple(int(n) for n in self.grid_size)
        if len(size) != 3 or min(size) < 1:
            raise InvalidGeometry(
                "A grid has three axes of at least one voxel.", received=f"{self.grid_size}"
            )
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "grid_size", size)

    @classmethod
    def from_spacing(
        cls, spacing_mm: SpacingMm, grid_size: GridSize, *, origin_mm: SpacingMm = (0.0, 0.0, 0.0)
    ) -> "Geometry":
        """A grid along the RAS axes; `origin_mm` is the centre of its first voxel."""
        affine = np.diag([*spacing_mm, 1.0])
        affine[:3, 3] = origin_mm
        return cls(affine, grid_size)

    @classmethod
    def from_lps(cls, frame: LpsFrame, grid_size: GridSize) -> "Geometry":
        """A grid from origin, direction and spacing as ITK and DICOM give them."""
        affine = np.eye(4)
        affine[:3, :3] = _RAS_TO_LPS @ frame.direction * np.asarray(frame.spacing_mm)
        affine[:3, 3] = _RAS_TO_LPS @ frame.origin_mm
        return cls(affine, grid_size)

    def to_lps(self) -> LpsFrame:
        """Origin, direction and spacing in ITK's and DICOM's words."""
        return LpsFrame(
            _RAS_TO_LPS @ self.affine[:3, 3], _RAS_TO_LPS @ self.direction, self.spacing_mm
        )

    def __eq__(self, other: object) -> bool:
        """Exactly the same affine and grid size; `same_space` allows for rounding."""
        return (
            isinstance(other, Geometry)
            and self.grid_size == other.grid_size
            and bool(np.array_equal(self.affine, other.affine))
        )

    def __hash__(self) -> int:
        return hash((self.grid_size, self.affine.tobytes()))

    @cached_property
    def spacing_mm(self) -> SpacingMm:
        """Distance between voxel centres along I, J, K."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return (i, j, k)

    @property
    def origin_mm(self) -> npt.NDArray[np.float64]:
        """RAS position of the centre of voxel (0, 0, 0), shape (3,)."""
        return self.affine[:3, 3]

    @cached_property
    def direction(self) -> npt.NDArray[np.float64]:
        """RAS unit vectors of I, J, K as columns, shape (3, 3)."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing_mm))

    @property
    def is_orthogonal(self) -> bool:
        """Whether the axes meet at right angles; False for a tilted gantry."""
        cosines = self.direction.T @ self.direction - np.eye(3)
        return float(np.abs(cosines).max()) <= ORTHOGONAL_TOLERANCE

    @property
    def is_2d(self) -> bool:
        """Whether there is one slice only."""
        return self.grid_size[2] == 1

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres (1 ml = 1000 cubic millimetres)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @cached_property
    def axis_order(self) -> tuple[int, int, int]:
        """For R, A and S in turn: the voxel axis that runs most along it, each used once."""
        share = np.abs(self.direction)
        i, j, k = max(permutations((0, 1, 2)), key=lambda p: sum(share[w, p[w]] for w in range(3)))
        return (i, j, k)

    @property
    def orientation(self) -> str:
        """Where I, J, K point to, as three letters: "RAS", "LPS", "PIR" and so on (48 exist)."""
        letters = [""] * 3
        for world, axis in enumerate(self.axis_order):
            letters[axis] = _ENDS[world][0 if self.direction[world, axis] > 0 else 1]
        return "".join(letters)

    def index_to_world(self, index: FloatArray) -> FloatArray:
        """Voxel indices (..., 3) -> RAS millimetres (..., 3)."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def world_to_index(self, world_mm: FloatArray) -> FloatArray:
        """RAS millimetres (..., 3) -> voxel indices (..., 3), not rounded."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(world_mm @ inverse[:3, :3].T + inverse[:3, 3])

    def corners_mm(self) -> npt.NDArray[np.float64]:
        """RAS positions of the centres of the eight corner voxels, shape (8, 3)."""
        last = np.array(self.grid_size) - 1
        index = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, 8).T * last
        return np.asarray(self.index_to_world(index.astype(np.float64)))

    def distance_mm(self, other: "Geometry") -> float:
        """Largest distance between corresponding corners; inf if the grid sizes differ."""
        if self.grid_size != other.grid_size:
            return float("inf")
        apart = self.corners_mm() - other.corners_mm()
        return float(np.linalg.norm(apart, axis=1).max())

    def same_space(self, other: "Geometry") -> bool:
        """Whether both grids have the same voxels, up to `SPACE_TOLERANCE`."""
        return self.distance_mm(other) <= SPACE_TOLERANCE * min(self.spacing_mm)

    def require_same_space(self, other: "Geometry", *, what: str) -> None:
        """Pass if `other` is the same grid.

        Args:
            other: The grid that must agree with this one.
            what: What is compared, for the message: "image and label of case 7".

        Raises:
            DifferentSpace: If it is not; the message says by how much.
        """
        if self.same_space(other):
            return
        if self.grid_size != other.grid_size:
            received = f"{self.grid_size} against {other.grid_size} voxels"
        else:
            received = f"corners up to {self.distance_mm(other):.3g} mm apart"
        raise DifferentSpace(
            f"One grid must hold {what}.",
            received=received,
            cure="Resample one onto the other first: medseg convert IN OUT --reference OTHER.",
        )

    def cropped(self, start: GridSize, size: GridSize) -> "Geometry":
        """The part of `size` voxels that begins at `start`, which may lie outside (padding)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(np.asarray(start, dtype=np.float64))
        return Geometry(affine, size)

    def reordered(self, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> "Geometry":
        """The geometry of `np.flip(array.transpose(axes), where flips)`: new axis n was axes[n]."""
        affine, size = self.affine.copy(), tuple(self.grid_size[a] for a in axes)
        affine[:3, :3] = self.affine[:3, list(axes)]
        for n, flip in enumerate(flips):
            if flip:
                affine[:3, 3] += affine[:3, n] * (size[n] - 1)
                affine[:3, n] *= -1
        return Geometry(affine, (size[0], size[1], size[2]))

    def steps_to(self, orientation: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """The transpose and flips that bring this grid nearest to `orientation` without resampling.

        Args:
            orientation: Three letters, one of R/L, A/P and S/I each, in any order.

        Returns:
            `axes` and `flips` as `reordered` takes them.

        Raises:
            InvalidGeometry: If the letters name no orientation.
        """
        here, axes, flips = self.orientation, [], []
        for letter in orientation:
            pair = next((ends for ends in _ENDS if letter in ends), "")
            axis = next((n for n in range(3) if here[n] in pair and pair), None)
            if axis is None or axis in axes:
                raise InvalidGeometry(
                    "An orientation is one letter of R/L, A/P and S/I each, such as RAS.",
                    received=repr(orientation),
                )
            axes.append(axis)
            flips.append(here[axis] != letter)
        if len(axes) != 3:
            raise InvalidGeometry(
                "An orientation has three letters, such as RAS.", received=repr(orientation)
            )
        return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def lps_to_ras(points_mm: FloatArray) -> FloatArray:
    """Positions (..., 3) from DICOM's axes to medseg's."""
    return np.asarray(points_mm @ _RAS_TO_LPS)


def picture_geometry(grid_size: GridSize, spacing_mm: SpacingMm = (1.0, 1.0, 1.0)) -> Geometry:
    """The place of a picture that has none: origin 0, I to the left, J to the back."""
    return Geometry.from_lps(LpsFrame(np.zeros(3), np.eye(3), spacing_mm), grid_size)
