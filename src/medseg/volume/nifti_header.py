"""The header of a NIfTI file: its fields, the place that they describe, and how they are written.

Ours, since nibabel loads pydicom and with it all of its decoders: a fifth of a second and 50 MB of
each command (bench/startup.py). Tests hold both to the same affine and to the same bytes.

Source: NIfTI-1 and NIfTI-2 (nifti1.h and nifti2.h, nifti.nimh.nih.gov).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

NIFTI_1, NIFTI_2 = 348, 540
"""The two kinds, by the size of their header in bytes, which is its first field."""

_FIELDS: dict[int, Mapping[str, tuple[str, int]]] = {
    NIFTI_1: {
        "sizeof_hdr": ("i4", 0), "dim": ("8i2", 40), "datatype": ("i2", 70), "bitpix": ("i2", 72),
        "pixdim": ("8f4", 76), "vox_offset": ("f4", 108), "scl_slope": ("f4", 112),
        "scl_inter": ("f4", 116), "xyzt_units": ("u1", 123), "qform_code": ("i2", 252),
        "sform_code": ("i2", 254), "quatern": ("3f4", 256), "qoffset": ("3f4", 268),
        "srow": ("(3,4)f4", 280), "magic": ("S4", 344),
    },
    NIFTI_2: {
        "sizeof_hdr": ("i4", 0), "magic": ("S4", 4), "eol_check": ("4i1", 8),
        "datatype": ("i2", 12), "bitpix": ("i2", 14), "dim": ("8i8", 16), "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168), "scl_slope": ("f8", 176), "scl_inter": ("f8", 184),
        "qform_code": ("i4", 344), "sform_code": ("i4", 348), "quatern": ("3f8", 352),
        "qoffset": ("3f8", 376), "srow": ("(3,4)f8", 400), "xyzt_units": ("i4", 500),
    },
}  # fmt: skip
"""Type and first byte of each field that is read or written here."""

MAGIC = {NIFTI_1: b"n+1", NIFTI_2: b"n+2"}
"""Of a file that holds header and voxels."""

_AFTER_HEADER = 4
"""Bytes that say that no extension follows; then come the voxels."""

_LINE_ENDS = (13, 10, 26, 10)
"""In NIfTI-2: a copy that changed the ends of lines has changed these."""

_MILLIMETRES, _SCANNER = 2, 1

_TYPES: dict[int, npt.DTypeLike] = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8", 1792: "c16",
    128: [("R", "u1"), ("G", "u1"), ("B", "u1")],
    2304: [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")],
}  # fmt: skip
"""By `datatype`; numbers of 16 bytes and single bits are read by nobody."""

_CODES = {np.dtype(kind): code for code, kind in _TYPES.items()}

_ROUNDED = {NIFTI_1: 3 * float(np.finfo(np.float32).eps), NIFTI_2: 3 * float(np.finfo(float).eps)}
"""How far the square of a quaternion's first number may be from 0 and still be it (nibabel's)."""


def parsed(block: bytes) -> np.void | None:
    """The fields of a header, by their names in nifti1.h; b, c, d and x, y, z are rows of one.

    Args:
        block: The first bytes of a file.

    Returns:
        A copy that may be changed; None if the bytes are no header, or not all of one.
    """
    for size in _FIELDS:
        for order in ("<", ">"):
            is_this = block[:4] == size.to_bytes(4, "little" if order == "<" else "big")
            if is_this and len(block) >= size:
                kind = _structure(size).newbyteorder(order)
                return np.frombuffer(block[:size], kind)[0].copy()  # type: ignore[no-any-return]
    return None


def voxel_type(header: np.void) -> np.dtype[Any] | None:
    """The type of the voxels, in the header's order of bytes; None if there is no such type."""
    kind = _TYPES.get(int(header["datatype"]))
    order = header.dtype["dim"].base.byteorder
    return None if kind is None else np.dtype(kind).newbyteorder(order)


def affine_of(header: np.void) -> npt.NDArray[np.float64]:
    """Voxel index -> position in the header's unit of length (4, 4), axes R, A and S.

    The sform where it has a code, else the qform where it has one, else the sizes of voxels with
    the grid's centre at the origin and x flipped, as nibabel takes it.

    Raises:
        ValueError: If the numbers of a qform describe no place.
    """
    affine = np.eye(4)
    if header["sform_code"] != 0:
        affine[:3] = header["srow"]
        return affine
    if header["qform_code"] != 0:
        affine[:3, :3] = _rotation(header) * _signed_zooms(header)
        affine[:3, 3] = header["qoffset"]
        return affine
    axes = min(int(header["dim"][0]), 3)
    zooms, size = np.ones(3), np.ones(3)
    zooms[:axes] = header["pixdim"][1 : axes + 1]
    size[:axes] = header["dim"][1 : axes + 1]
    zooms[0] *= -1
    affine[:3, :3] = np.diag(zooms)
    affine[:3, 3] = -(size - 1) / 2 * zooms
    return affine


def packed_header(
    dtype: np.dtype[Any],
    shape: Sequence[int],
    affine: npt.NDArray[np.float64],
    spacing_mm: Sequence[float],
    *,
    kind: int,
    has_qform: bool,
) -> bytes:
    """The bytes of a file before its voxels: a header in millimetres, and no extension.

    Args:
        dtype: Of the voxels, one of `datatype`'s, in this machine's order of bytes.
        shape: Voxels along I, J, K, and channels if there are several.
        affine: Index -> RAS mm, for the sform.
        spacing_mm: Distance between voxel centres along I, J, K.
        kind: `NIFTI_1` or `NIFTI_2`.
        has_qform: Whether a qform says the same, which takes axes at right angles.
    """
    header = np.zeros(1, _structure(kind))[0]
    header["sizeof_hdr"], header["magic"] = kind, MAGIC[kind]
    if kind == NIFTI_2:
        header["eol_check"] = _LINE_ENDS
    header["datatype"], header["bitpix"] = _CODES[dtype], 8 * dtype.itemsize
    header["dim"] = (len(shape), *shape, *(1,) * (7 - len(shape)))
    header["pixdim"] = (1.0, *spacing_mm, *(1.0,) * 4)
    header["vox_offset"], header["scl_slope"] = kind + _AFTER_HEADER, 1.0
    header["xyzt_units"], header["sform_code"] = _MILLIMETRES, _SCANNER
    header["srow"] = affine[:3]
    if has_qform:
        _set_qform(header, affine)
    return bytes(header.tobytes()) + bytes(_AFTER_HEADER)


def _structure(size: int) -> np.dtype[Any]:
    fields = _FIELDS[size]
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype(
        {"names": list(fields), "formats": list(formats), "offsets": list(offsets),
         "itemsize": size}
    )  # fmt: skip


def _signed_zooms(header: np.void) -> npt.NDArray[np.longdouble]:
    """Size of a voxel along each axis; the third is negative where axes are left-handed."""
    zooms, handed = np.array(header["pixdim"][1:4], np.longdouble), float(header["pixdim"][0])
    if (zooms < 0).any():
        raise ValueError("pixdim[1], [2] or [3] is negative")
    if handed not in (-1, 1):
        raise ValueError(f"pixdim[0], which is 1 or -1 beside a qform, is {handed:g}")
    zooms[2] *= handed
    return zooms


def _rotation(header: np.void) -> npt.NDArray[np.longdouble]:
    """The matrix of the header's unit quaternion, whose first number is what is left to 1."""
    b, c, d = np.array(header["quatern"], np.longdouble)
    square, rounded = 1 - (b * b + c * c + d * d), _ROUNDED[int(header["sizeof_hdr"])]
    if not square > -rounded:
        raise ValueError(
            f"its quatern_b, c and d have squares of the sum {1 - square:.6g}, above 1"
        )
    a = np.sqrt(square) if square >= rounded else np.longdouble(0)
    cross = np.array([[0, -d, c], [d, 0, -b], [-c, b, 0]])
    twice = 2 / (a * a + b * b + c * c + d * d)
    return np.asarray(np.eye(3) + twice * (a * cross + cross @ cross))


def _set_qform(header: np.void, affine: npt.NDArray[np.float64]) -> None:
    """The rotation that is nearest to an affine, and which hand its axes are of."""
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axes = affine[:3, :3] / zooms
    handed = 1.0 if np.linalg.det(axes) > 0 else -1.0
    axes[:, 2] *= handed
    left, _, right = np.linalg.svd(axes)
    header["quatern"] = _quaternion(left @ right)[1:]
    header["qoffset"], header["qform_code"] = affine[:3, 3], _SCANNER
    header["pixdim"][:4] = (handed, *zooms)


def _quaternion(rotation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The unit quaternion of a rotation, its first number not negative.

    It is the eigenvector of the largest eigenvalue of a symmetric matrix.

    Source: Bar-Itzhack, New Method for Extracting the Quaternion from a Rotation Matrix, Journal of
    Guidance, Control and Dynamics 23(6), 2000.
    """
    r, trace = rotation, np.trace(rotation)
    matrix = np.zeros((4, 4))
    matrix[:3, :3] = r + r.T - trace * np.eye(3)
    matrix[3] = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], trace
    values, vectors = np.linalg.eigh(matrix / 3)  # which looks at the lower half alone
    found = np.roll(vectors[:, np.argmax(values)], 1)
    return np.asarray(-found if found[0] < 0 else found)
