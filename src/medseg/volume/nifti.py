"""NIfTI files (.nii, .nii.gz), decompressed by isal.

The affine follows nibabel's `get_best_affine`: the sform where `sform_code` > 0, else the qform
where `qform_code` > 0, else the voxel sizes with x flipped and the grid's centre at the origin.
It is rounded to float32, which is all that the file's sform holds: an affine that was read is
written and read again bit for bit. Positions in metres or micrometres (`xyzt_units`) become
millimetres, as ITK does it.
"""

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from medseg.errors import InvalidGeometry, UnknownFormat, UnreadableFile
from medseg.files import atomic_file
from medseg.types import AnyArray, GridSize
from medseg.volume.geometry import Geometry
from medseg.volume.nifti_header import (
    MAGIC,
    NIFTI_1,
    NIFTI_2,
    affine_of,
    packed_header,
    parsed,
    voxel_type,
)

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_LEVEL = 2
"""As small as nibabel's files; on label maps smaller and faster than level 3."""

_DAMAGED = (gzip.BadGzipFile, cast(type[Exception], isal_zlib.error))
_LARGEST_INFLATION = 1032
"""No deflate stream grows by more: a header that asks for more is broken."""

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""By the lowest three bits of xyzt_units: metres and micrometres; all else is taken as mm."""

_LARGEST_NIFTI1_AXIS = 32767
_LARGEST_OFFSET = 1 << 40
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class _Header:
    """What a NIfTI header says about the voxels.

    Attributes:
        dtype: Type on the disk, with its byte order.
        shape: (I, J, K, C), or (I, J, K, C, number of colours) for RGB types.
        offset: Bytes before the first voxel.
        slope: Real value = stored value x slope + intercept.
        geometry: Where the grid lies.
        is_plain: Whether it has one number for each voxel of three axes, lengths in millimetres.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, int, int, int]
    offset: int
    slope: float
    intercept: float
    geometry: Geometry
    is_plain: bool

    @property
    def byte_count(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_nifti(path: Path) -> tuple[AnyArray, Geometry]:
    """Read voxels and geometry.

    Args:
        path: A .nii or .nii.gz file of two to four axes, or five of which the fourth is 1.

    Returns:
        Voxels of shape (C, I, J, K) in the file's type, or in floating point where the file has
        a scaling (scl_slope, scl_inter); and where they lie.

    Raises:
        UnreadableFile: If the file is truncated, damaged or no NIfTI.
        UnknownFormat: If it holds complex numbers or several time points of several channels.
        InvalidGeometry: If its affine describes no place.
    """
    with _reading(path) as stream:
        header = _parse(stream, path)
        stored = _read_voxels(stream, header, path)
    if header.dtype.names:
        colours = stored.view(np.uint8).reshape(len(header.dtype.names), *header.shape, order="F")
        return colours[..., 0], header.geometry
    array = np.moveaxis(stored.reshape(header.shape, order="F"), -1, 0)
    return _scaled(array, header), header.geometry


def read_nifti_geometry(path: Path) -> Geometry:
    """Read the header only.

    Raises:
        UnreadableFile: If the file is no NIfTI.
        InvalidGeometry: If its affine describes no place.
    """
    with _reading(path) as stream:
        return _parse(stream, path).geometry


def is_plain_nifti(path: Path) -> bool:
    """Whether a file has one number for each voxel of three axes, and its lengths in millimetres.

    Raises:
        UnreadableFile: If the file is no NIfTI.
        InvalidGeometry: If its affine describes no place.
    """
    with _reading(path) as stream:
        return _parse(stream, path).is_plain


def write_nifti(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write voxels in their own type, in millimetres, with sform and (where it can be) qform.

    Args:
        array: Real numbers, shape (C, I, J, K); one channel makes a file of three axes.
        geometry: Where they lie; the file holds its affine as float32.
        path: A name ending in .nii or .nii.gz.

    Raises:
        CannotWrite: If the file cannot be written.
    """
    voxels = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    voxels = voxels.astype(_stored_as(voxels.dtype), copy=False)
    header = _make_header(voxels, geometry)
    flat = voxels.ravel(order="F").view(np.uint8).data
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with igzip.IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
                stream.write(header)
                stream.write(flat)
        else:
            file.write(header)
            file.write(flat)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file, decompressing it if its name says so; what goes wrong becomes one sentence."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if zipped != path.name.lower().endswith(".gz"):
                raise _broken(
                    path,
                    "it is compressed" if zipped else "it is not compressed",
                    "Name a compressed file .nii.gz and an uncompressed one .nii.",
                )
            if not zipped:
                yield file
                return
            with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
                yield cast(BinaryIO, stream)
    except EOFError as error:
        raise _broken(path, "it ends before its last voxel") from error
    except _DAMAGED as error:
        raise _broken(path, f"its compressed stream is damaged ({error})") from error


def _broken(
    path: Path, what: str, cure: str = "Copy or convert it again from its source."
) -> UnreadableFile:
    return UnreadableFile(f"{path} must be a whole NIfTI file.", received=what, cure=cure)


def _parse(stream: BinaryIO, path: Path) -> _Header:
    header = parsed(stream.read(NIFTI_2))
    if header is None:
        raise _broken(path, "it does not begin with a NIfTI header")
    size = int(header["sizeof_hdr"])
    if bytes(header["magic"])[:3] != MAGIC[size]:
        raise _broken(path, f"its magic is {bytes(header['magic'])!r}")
    dtype = voxel_type(header)
    if dtype is None:
        raise _broken(path, f"its data type is {int(header['datatype'])}")
    if dtype.kind == "c":
        raise UnknownFormat(
            f"{path} must hold real numbers.",
            received="complex numbers",
            cure="Save magnitude or phase.",
        )
    shape = _shape_of(header, path)
    slope, intercept = _scaling_of(header)
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _LARGEST_OFFSET:
        raise _broken(path, f"its voxels begin at byte {offset:g}")
    return _Header(
        dtype=dtype,
        shape=shape,
        offset=int(offset) or size + 4,
        slope=slope,
        intercept=intercept,
        geometry=_geometry_of(header, shape[:3], path),
        is_plain=int(header["dim"][0]) == 3
        and dtype.fields is None
        and int(header["xyzt_units"]) & 7 not in _MM_PER_UNIT,
    )


def _shape_of(header: np.void, path: Path) -> tuple[int, int, int, int]:
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise _broken(path, f"its grid is {dim[: max(1, min(dim[0], 7)) + 1]}")
    axes = dim[1 : dim[0] + 1] + [1] * (7 - dim[0])
    channels = [n for n in axes[3:] if n > 1]
    if len(channels) > 1:
        raise UnknownFormat(
            f"{path} must have three axes of space and one of channels.",
            received=f"a grid of {' x '.join(map(str, dim[1 : dim[0] + 1]))}",
            cure="Save one file for each time point.",
        )
    return axes[0], axes[1], axes[2], channels[0] if channels else 1


def _scaling_of(header: np.void) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or none at all means: as stored."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope) or not np.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept


def _geometry_of(header: np.void, grid_size: GridSize, path: Path) -> Geometry:
    if grid_size[2] == 1 and not header["pixdim"][3] > 0:
        header["pixdim"][3] = 1.0
    try:
        affine = affine_of(header)
    except ValueError as error:
        raise InvalidGeometry(
            f"{path} must say where its voxels lie.",
            received=str(error),
            cure="Repair the header of the file, or convert it again from its source.",
        ) from error
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if grid_size[2] == 1 and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    return Geometry(affine.astype(np.float32), grid_size)


def _read_voxels(stream: BinaryIO, header: _Header, path: Path) -> npt.NDArray[Any]:
    """All voxels in the file's order, shape (N,); reads to the end, so that its sum is checked."""
    if header.byte_count > path.stat().st_size * _LARGEST_INFLATION:
        raise _broken(path, "it ends before its last voxel")
    stream.seek(header.offset)
    buffer = np.empty(header.byte_count, dtype=np.uint8)
    rest = buffer.data
    while len(rest):  # a stream that decompresses holds what is asked for twice: ask for little
        count = stream.readinto(rest[:_READ_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise _broken(path, "it ends before its last voxel")
        rest = rest[count:]
    while stream.read(_READ_BYTES):
        pass
    return buffer.view(header.dtype)


def _scaled(array: AnyArray, header: _Header) -> AnyArray:
    native = _native(array.dtype)
    if (header.slope, header.intercept) == (1.0, 0.0):
        return array.astype(native, copy=False)
    real = array.astype(np.result_type(native, np.float32))
    real *= header.slope
    real += header.intercept
    return real


def _stored_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or for one that NIfTI lacks the smallest that holds all its values."""
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype == np.float16 else _native(dtype)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """In this machine's byte order; 16-byte floating point becomes double."""
    return np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")


def _make_header(voxels: AnyArray, geometry: Geometry) -> bytes:
    small = max(voxels.shape) <= _LARGEST_NIFTI1_AXIS
    return packed_header(
        voxels.dtype,
        voxels.shape,
        geometry.affine,
        geometry.spacing_mm,
        kind=NIFTI_1 if small else NIFTI_2,
        has_qform=geometry.is_orthogonal,
    )
