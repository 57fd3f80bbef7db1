"""Pixels of a stack of DICOM slices, as real values.

Uncompressed pixels are taken straight from the file's bytes; compressed ones go through whichever
decoder of pydicom reads them (pylibjpeg, pyjpegls, GDCM).
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import ExplicitVRBigEndian

from medseg.errors import UndecodablePixels
from medseg.types import AnyArray, Mask
from medseg.volume.dicom_slices import PlainPixels, Slice

_PIXEL_TAGS = [
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip


def read_pixels(slices: tuple[Slice, ...]) -> AnyArray:
    """Read, scale and stack; see `read_padded_pixels`.

    Raises:
        UndecodablePixels: As there.
    """
    return read_padded_pixels(slices)[0]


def read_padded_pixels(slices: tuple[Slice, ...]) -> tuple[AnyArray, bool]:
    """Read, scale and stack.

    Args:
        slices: Images of one size, in the order of K.

    Returns:
        Real values, shape (I, J, K): int16 where all are whole and fit, else int32, else float32.
        Pixels that stand for "outside of the scan" hold the lowest value of the others. And whether
        there are any of these.

    Raises:
        UndecodablePixels: If pixels are missing, cut short, or compressed in a way that no decoder
            reads.
    """
    columns, rows = slices[0].size
    pixels = np.empty((len(slices), rows, columns), dtype=_first_type(slices))
    outside: list[Mask | None] = []
    k = 0
    for _, group in groupby(slices, key=lambda one: one.path):
        images = tuple(group)
        frames = stored_frames(images[0])
        for one in images:
            require_frame(frames, one)
            stored = frames[one.frame]
            if pixels.dtype == np.int16 and not _fits_int16(stored, one):
                pixels = pixels.astype(np.int32)
            _scale_into(pixels[k], stored, one)
            outside.append(_padded(stored, one))
            k += 1
    fill_padding(pixels, outside)
    return pixels.transpose(2, 1, 0), any(mask is not None for mask in outside)


def _padded(stored: AnyArray, one: Slice) -> Mask | None:
    if one.padding is None:
        return None
    low, high = one.padding
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def fill_padding(pixels: AnyArray, outside: Sequence[Mask | None]) -> None:
    """Give padding the lowest value of the pixels that were measured, in place.

    Where these are never negative and padding reads 0, it is background already and stays.

    Args:
        pixels: Real values, shape (K, J, I).
        outside: Where padding is in each slice, shape (J, I); None where there is none.
    """
    lows = [
        plane.min() if mask is None else plane[~mask].min()
        for plane, mask in zip(pixels, outside, strict=True)
        if mask is None or not mask.all()
    ]
    if not lows or all(mask is None for mask in outside):
        return
    lowest = min(lows)
    for plane, mask in zip(pixels, outside, strict=True):
        if mask is not None:
            plane[mask if lowest < 0 else mask & (plane != 0)] = lowest


def _first_type(slices: tuple[Slice, ...]) -> np.dtype[Any]:
    """Integer where scaling keeps values whole and within 32 bits, whatever is stored."""
    if any(one.slope % 1 or one.intercept % 1 for one in slices):
        return np.dtype(np.float32)
    ends = [end for one in slices for end in _scaled_ends(one.stored_range, one)]
    return np.dtype(np.int16 if _fits(ends, np.iinfo(np.int32)) else np.float32)


def _fits_int16(stored: AnyArray, one: Slice) -> bool:
    """Whether all real values fit; looks at them only where the stored bits could hold more."""
    limits = np.iinfo(np.int16)
    if _fits(_scaled_ends(one.stored_range, one), limits):
        return True
    return _fits(_scaled_ends((int(stored.min()), int(stored.max())), one), limits)


def _scaled_ends(ends: tuple[int, int], one: Slice) -> tuple[float, float]:
    return ends[0] * one.slope + one.intercept, ends[1] * one.slope + one.intercept


def _fits(ends: Sequence[float], limits: np.iinfo[Any]) -> bool:
    return bool(limits.min <= min(ends) and max(ends) <= limits.max)


def _scale_into(target: AnyArray, stored: AnyArray, one: Slice) -> None:
    """Integers are computed in the target's own type: the result fits, so wrapping cancels out."""
    kind = target.dtype.type
    if (one.slope, one.intercept) == (1.0, 0.0):
        target[...] = stored
    elif one.slope == 1.0:
        np.add(stored, kind(one.intercept), out=target, dtype=target.dtype, casting="unsafe")
    else:
        np.multiply(stored, kind(one.slope), out=target, dtype=target.dtype, casting="unsafe")
        target += kind(one.intercept)


def _read_plain(one: Slice, plain: PlainPixels) -> AnyArray:
    """Stored values of a file whose pixels lie in it as they are, shape (frames, J, I)."""
    columns, rows = one.size
    count = plain.frames * rows * columns
    values = np.fromfile(one.path, plain.dtype, count, offset=plain.offset)
    return _without_upper_bits(values.reshape(plain.frames, rows, columns), plain.unused_bits)


def stored_frames(one: Slice) -> AnyArray:
    """Stored values of all images of a slice's file, shape (frames, J, I).

    Raises:
        UndecodablePixels: As `read_padded_pixels`.
    """
    return _decoded(one.path) if one.plain is None else _read_plain(one, one.plain)


def _decoded(path: Any) -> AnyArray:
    """Stored values of one file, shape (number of frames, J, I)."""
    try:
        dataset = pydicom.dcmread(path, force=True, specific_tags=_PIXEL_TAGS)
        if _is_plain(dataset):
            return _from_bytes(dataset)
        return np.asarray(dataset.pixel_array).reshape(-1, dataset.Rows, dataset.Columns)
    except Exception as error:  # decoders raise whatever their C libraries give them
        raise UndecodablePixels(
            f"The pixels of {path} must be whole, and compressed as an installed decoder reads it.",
            received=" ".join(str(error).split())[:160] or type(error).__name__,
            cure="Copy the file again, or decompress it first (gdcmconv --raw, dcmdjpeg).",
        ) from error


def _is_plain(dataset: Any) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    native = syntax is None or not syntax.is_compressed or syntax.is_deflated
    wide = dataset.BitsAllocated in (16, 32) or syntax != ExplicitVRBigEndian
    return bool(native and dataset.BitsAllocated in (8, 16, 32) and wide)


def _from_bytes(dataset: Any) -> AnyArray:
    """Uncompressed values; bits above `BitsStored` (old overlays) are no part of them."""
    bits, signed = int(dataset.BitsAllocated), int(dataset.PixelRepresentation)
    order = "<" if dataset.original_encoding[1] else ">"
    dtype = np.dtype(f"{order}{'i' if signed else 'u'}{bits // 8}")
    shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
    count = int(np.prod(shape))
    if len(dataset.PixelData) < count * dtype.itemsize:
        raise ValueError(
            f"{len(dataset.PixelData)} bytes of pixels, where {count * dtype.itemsize} are expected"
        )
    values = np.frombuffer(dataset.PixelData, dtype, count).reshape(shape)
    return _without_upper_bits(values, bits - int(dataset.get("BitsStored") or bits))


def _without_upper_bits(values: npt.NDArray[Any], unused: int) -> AnyArray:
    if unused <= 0:
        return values
    if values.dtype.kind == "u":
        return np.asarray(values & values.dtype.type((1 << values.dtype.itemsize * 8 - unused) - 1))
    return np.asarray((values << unused) >> unused)


def require_frame(frames: AnyArray, one: Slice) -> None:
    """Pass if a file holds the image that its header announces.

    Raises:
        UndecodablePixels: If not.
    """
    if one.frame >= len(frames) or frames.shape[1:] != one.size[::-1]:
        raise UndecodablePixels(
            "A DICOM file holds the pixels that its header announces.",
            received=f"{frames.shape} in {one.path.name}, expected {one.size[::-1]}",
            cure="Copy the file again.",
        )
