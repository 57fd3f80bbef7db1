"""One preprocessed case on disk: what is known of it, and reading a patch of it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from medseg.errors import DatasetError
from medseg.files import atomic_file
from medseg.specs import FROZEN
from medseg.types import AnyArray, GridSize, IntArray
from medseg.volume.geometry import Geometry

MASK_FILE = "mask.npy"
"""What the stage before a cascade found, beside the arrays of a case."""


class StoredGrid(BaseModel):
    """A Geometry in JSON."""

    model_config = FROZEN

    affine: tuple[tuple[float, float, float, float], ...]
    grid_size: GridSize

    @classmethod
    def of(cls, geometry: Geometry) -> "StoredGrid":
        """The grid of a geometry."""
        return cls(affine=geometry.affine.tolist(), grid_size=geometry.grid_size)

    def geometry(self) -> Geometry:
        """The geometry of the grid."""
        return Geometry(np.array(self.affine), self.grid_size)


class CaseRecord(BaseModel):
    """What is known of a stored case.

    Attributes:
        id: The case.
        plan_hash: Which preprocessing it went through.
        files_hash: Which files it was made from, by name, size and time of change.
        geometry: The stored grid.
        original: The grid of the file.
        class_voxels: Voxels of each class, background first, ignored ones left out; empty without
            label.
        location_counts: Sampled voxels of each class.
    """

    model_config = FROZEN

    id: str
    plan_hash: str
    files_hash: str
    geometry: StoredGrid
    original: StoredGrid
    class_voxels: tuple[int, ...] = ()
    location_counts: tuple[int, ...] = ()


class StoredCase:
    """One case of a store. Its arrays stay on disk until they are read.

    Args:
        folder: Where it lies.
        record: What is known of it.
    """

    def __init__(self, folder: Path, record: CaseRecord) -> None:
        self.folder, self.record = folder, record
        self.id = record.id
        self.class_voxels = record.class_voxels

    @property
    def grid_size(self) -> GridSize:
        """Voxels along I, J, K."""
        return self.record.geometry.grid_size

    @cached_property
    def geometry(self) -> Geometry:
        """Where the stored grid lies."""
        return self.record.geometry.geometry()

    @cached_property
    def original(self) -> Geometry:
        """Where the grid of the file lies."""
        return self.record.original.geometry()

    @property
    def is_labelled(self) -> bool:
        """Whether the case has a label."""
        return bool(self.record.class_voxels)

    def read(
        self, start: Sequence[int], size: Sequence[int]
    ) -> tuple[npt.NDArray[np.float32], IntArray]:
        """Read one patch; nothing else of the case is touched.

        Args:
            start: First voxel along I, J, K; may lie outside.
            size: Voxels along I, J, K.

        Returns:
            Image, float32, shape (C, *size), and class indices, shape `size`. Both are new arrays,
            0 outside the case; a case without label is background everywhere.
        """
        image = _padded(self._image, start, size, np.float32)
        if self._labels is None:
            return image, np.zeros(tuple(size), dtype=np.uint8)
        return image, _padded(self._labels, start, size, self._labels.dtype)

    def read_mask(self, start: Sequence[int], size: Sequence[int]) -> IntArray:
        """Read one patch of the mask of the stage before, as `read` does; background outside.

        Raises:
            DatasetError: If there is none.
        """
        return _padded(self._mask, start, size, self._mask.dtype)

    def mask(self) -> IntArray:
        """The whole mask of the stage before: class indices, shape (I, J, K).

        Raises:
            DatasetError: If there is none.
        """
        return np.array(self._mask)

    @property
    def has_mask(self) -> bool:
        """Whether a stage before left a mask."""
        return (self.folder / MASK_FILE).is_file()

    def keep_mask(self, mask: IntArray) -> None:
        """Write the mask of the stage before.

        Args:
            mask: Class indices on the stored grid, shape (I, J, K).

        Raises:
            DatasetError: If it lies on another grid.
            CannotWrite: If it cannot be written.
        """
        if mask.shape != self.grid_size:
            raise DatasetError(
                f"A mask of case {self.id} lies on its stored grid of {self.grid_size} voxels.",
                received=f"one of {mask.shape}",
            )
        with atomic_file(self.folder / MASK_FILE) as temporary, temporary.open("wb") as stream:
            np.save(stream, mask)

    def image(self) -> npt.NDArray[np.float32]:
        """The whole image, float32, shape (C, I, J, K)."""
        return np.asarray(self._image, dtype=np.float32)

    def labels(self) -> IntArray | None:
        """All class indices, shape (I, J, K); None without label."""
        return None if self._labels is None else np.array(self._labels)

    def locations(self, class_index: int) -> npt.NDArray[np.int32]:
        """Sampled voxels of a class, shape (n, 3); none if the case does not hold it.

        Those of background are kept only where some voxels are ignored.
        """
        counts = self.record.location_counts
        if not 0 <= class_index < len(counts):
            return np.empty((0, 3), dtype=np.int32)
        start = sum(counts[:class_index])
        return np.asarray(self._locations[start : start + counts[class_index]])

    @cached_property
    def _image(self) -> AnyArray:
        return _mapped(self.folder / "image.npy")

    @cached_property
    def _labels(self) -> AnyArray | None:
        return _mapped(self.folder / "labels.npy") if self.is_labelled else None

    @cached_property
    def _mask(self) -> AnyArray:
        if not self.has_mask:
            raise DatasetError(
                "Each case of a cascade holds the mask of the stage before.",
                received=f"none in {self.folder}",
                cure="Go on with --resume: what is missing is made again.",
            )
        return _mapped(self.folder / MASK_FILE)

    @cached_property
    def _locations(self) -> AnyArray:
        locations: AnyArray = np.load(self.folder / "locations.npy")
        return locations


def read_record(place: Path) -> CaseRecord | None:
    """The record of a stored case; None if there is none, or one of another version."""
    try:
        return CaseRecord.model_validate_json((place / "record.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def _padded(
    array: AnyArray, start: Sequence[int], size: Sequence[int], dtype: npt.DTypeLike
) -> AnyArray:
    """A box of the last three axes, 0 where it lies outside."""
    patch = np.zeros((*array.shape[:-3], *size), dtype=dtype)
    there, here = [], []
    for first, width, voxels in zip(start, size, array.shape[-3:], strict=True):
        low = max(0, first)
        high = max(low, min(voxels, first + width))
        there.append(slice(low, high))
        here.append(slice(low - first, high - first))
    patch[..., here[0], here[1], here[2]] = array[..., there[0], there[1], there[2]]
    return patch


def _mapped(path: Path) -> AnyArray:
    array: AnyArray = np.load(path, mmap_mode="r")
    return array
