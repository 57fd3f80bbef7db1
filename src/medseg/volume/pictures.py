"""Pictures: PNG, JPEG and BMP through Pillow; TIFF is passed on to its own file.

A picture has no place in a patient: column is I, row is J, and a pixel is 1 mm wide unless a TIFF
says otherwise in physical units (our own affine, OME-XML, ImageJ). The dots per inch of a PNG, JPEG
or plain TIFF are those of a screen and mean nothing. I runs to the left and J to the back, as a
picture hangs on the wall: affine diag(-1, -1, 1, 1).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import tifffile
from PIL import Image, UnidentifiedImageError

from medseg.errors import LabelError, MedsegError, UnknownFormat, UnreadableFile
from medseg.files import atomic_file
from medseg.types import AnyArray
from medseg.volume.formats import TIFF_SUFFIXES, suffix_of
from medseg.volume.geometry import Geometry, picture_geometry
from medseg.volume.tiff import read_tiff, read_tiff_geometry, write_tiff

_GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L")
_WITH_ALPHA = ("LA", "RGBA")


def read_picture(path: Path) -> tuple[AnyArray, Geometry]:
    """Read a picture, or a TIFF stack.

    Returns:
        Pixels of shape (C, I, J, K) in the file's type, and where they lie: C is 1 for grey and 3
        for colour (4 where alpha is not opaque); K is the number of pages of a TIFF, else 1.

    Raises:
        UnreadableFile: If the file is truncated, damaged or not what its name says.
        UnknownFormat: If a TIFF has axes beside channels and space.
    """
    if suffix_of(path) in TIFF_SUFFIXES:
        with _decoding(path):
            array, geometry = read_tiff(path)
        return _without_opaque_alpha(array), geometry
    with _decoding(path), Image.open(path) as image:
        pixels = _pixels(image, path)
        size = (image.width, image.height, 1)
    array = pixels.reshape(size[1], size[0], -1).transpose(2, 1, 0)[..., np.newaxis]
    return _without_opaque_alpha(array), picture_geometry(size)


def read_picture_labels(path: Path) -> tuple[AnyArray, Geometry]:
    """Read a picture whose pixels are label values; a palette's numbers, not its colours.

    Returns:
        Values of shape (I, J, K), and where they lie.

    Raises:
        LabelError: If the pixels are colours.
        UnreadableFile: If the file is truncated, damaged or not what its name says.
    """
    if suffix_of(path) not in TIFF_SUFFIXES:
        with _decoding(path), Image.open(path) as image:
            if image.mode == "P":
                size = (image.width, image.height, 1)
                return np.array(image).T[..., np.newaxis], picture_geometry(size)
    array, geometry = read_picture(path)
    if any(not np.array_equal(array[0], channel) for channel in array[1:3]):
        raise LabelError(
            f"{path} must hold one label value in each pixel.",
            received="colours",
            cure="Save it as a grey or palette PNG, or as NIfTI.",
        )
    return array[0], geometry


def read_picture_geometry(path: Path) -> Geometry:
    """Read the header only.

    Raises:
        UnreadableFile: If the file is not what its name says.
    """
    if suffix_of(path) in TIFF_SUFFIXES:
        with _decoding(path):
            return read_tiff_geometry(path)
    with _decoding(path), Image.open(path) as image:
        return picture_geometry((image.width, image.height, 1))


def write_picture(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write a PNG, or a TIFF that keeps its affine.

    Args:
        array: Shape (C, I, J, K). A PNG takes one slice of 8 or 16 bits, or of 8 bits in colour.
        geometry: Where the pixels lie; a PNG takes the place of a picture only.
        path: A name ending in .png, .tif or .tiff.

    Raises:
        UnknownFormat: If the format cannot hold the image as it is.
        CannotWrite: If the file cannot be written.
    """
    suffix = suffix_of(path)
    if suffix in TIFF_SUFFIXES:
        write_tiff(array, geometry, path)
    elif suffix == ".png":
        _write_png(array, geometry, path)
    else:
        raise UnknownFormat(
            "Images are written without loss.",
            received=path.name,
            cure="Choose .png, .tif or .nii.gz.",
        )


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except MedsegError:
        raise
    except (UnidentifiedImageError, tifffile.TiffFileError, Image.DecompressionBombError) as error:
        raise _unreadable(path, "something else") from error
    except Exception as error:  # a damaged file leads decoders to errors of any kind
        raise _unreadable(path, str(error) or type(error).__name__) from error


def _unreadable(path: Path, what: str) -> UnreadableFile:
    return UnreadableFile(
        f"{path} must be a whole picture of the kind that its name says.",
        received=what.replace("\n", " "),
        cure="Copy or export it again from its source.",
    )


def _pixels(image: Image.Image, path: Path) -> AnyArray:
    """Pixels of shape (J, I) or (J, I, C)."""
    if image.mode not in _GREY and "16B" in str(getattr(image, "tile", [])[:1]):
        # Pillow cuts 16-bit colours to 8 bits.
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    if image.mode not in (*_GREY, *_WITH_ALPHA, "RGB"):
        alpha = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if alpha else "RGB")
    pixels = np.array(image)
    stored_as = np.uint8 if pixels.dtype == np.bool_ else pixels.dtype.newbyteorder("=")
    return pixels.astype(stored_as, copy=False)


def _without_opaque_alpha(array: AnyArray) -> AnyArray:
    """Shape (C, I, J, K) without its last of two or four channels, if that is full everywhere."""
    if array.shape[0] not in (2, 4) or array.dtype not in (np.uint8, np.uint16):
        return array
    return array if (array[-1] < np.iinfo(array.dtype).max).any() else array[:-1]


def _write_png(array: AnyArray, geometry: Geometry, path: Path) -> None:
    pixels = array.transpose(3, 2, 1, 0)[0]
    pixels = pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
    colour = array.shape[0] in (3, 4) and pixels.dtype == np.uint8
    grey = array.shape[0] == 1 and pixels.dtype in (np.uint8, np.uint16)
    if not geometry.is_2d or not (colour or grey):
        raise UnknownFormat(
            "A PNG holds one slice of 8 or 16 bits in grey, or of 8 bits in colour.",
            received=f"{array.shape[0]} channels of {geometry.grid_size} voxels, {array.dtype}",
            cure="Choose .tif, .mha or .nii.gz.",
        )
    if not geometry.same_space(picture_geometry(geometry.grid_size)):
        raise UnknownFormat(
            "A PNG has no place in a patient: its pixels are 1 mm wide, and the first is at 0.",
            received=f"voxels of {geometry.spacing_mm} mm at {geometry.origin_mm.tolist()}",
            cure="Choose .tif, .mha or .nii.gz, which keep the place.",
        )
    with atomic_file(path) as temporary:
        pixels = np.ascontiguousarray(pixels[..., 0] if grey else pixels)
        Image.fromarray(pixels).save(temporary, format="PNG")
