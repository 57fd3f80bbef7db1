"""NRRD and MetaImage files, through SimpleITK."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from medseg.errors import UnknownFormat, UnreadableFile
from medseg.files import atomic_file
from medseg.types import AnyArray, GridSize
from medseg.volume.formats import NRRD_SUFFIXES, suffix_of
from medseg.volume.geometry import Geometry, LpsFrame

_DETACHED = (".nhdr", ".mhd")
"""Headers whose voxels lie in a second file."""


def read_itk(path: Path) -> tuple[AnyArray, Geometry]:
    """Read voxels and geometry.

    Returns:
        Voxels of shape (C, I, J, K) in the file's type, and where they lie.

    Raises:
        UnreadableFile: If the file is truncated, damaged or not what its name says.
        UnknownFormat: If it holds complex numbers or several time points of several channels.
    """
    reader = _reader(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = sitk.GetArrayFromImage(image)
    else:
        array = sitk.GetArrayFromImage(image)[..., np.newaxis]
    if array.dtype.kind == "c":
        raise UnknownFormat(
            f"{path} must hold real numbers.",
            received="complex numbers",
            cure="Save magnitude or phase.",
        )
    array = array.T
    if image.GetDimension() == 4 and array.shape[0] == 1:
        array = np.moveaxis(array, 4, 0)[:, 0]
    array = array.reshape(*array.shape, *(1,) * (4 - array.ndim))
    if array.ndim != 4:
        raise UnknownFormat(
            f"{path} must have three axes of space and one of channels.",
            received=f"{image.GetDimension()} axes of {array.shape[0]} channels",
            cure="Save one file for each time point.",
        )
    return array, _geometry_of(image)


def read_itk_geometry(path: Path) -> Geometry:
    """Read the header only.

    Raises:
        UnreadableFile: If the file is not what its name says.
    """
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _geometry_of(reader)


def write_itk(array: AnyArray, geometry: Geometry, path: Path, *, compress: bool) -> None:
    """Write voxels in their own type.

    Args:
        array: Real numbers, shape (C, I, J, K).
        geometry: Where they lie; the axes must meet at right angles.
        path: A name ending in .nrrd or .mha.
        compress: Whether to deflate, which pays for label maps.

    Raises:
        UnknownFormat: If the format cannot hold the image: oblique axes, or two files.
        CannotWrite: If the file cannot be written.
    """
    if suffix_of(path) in _DETACHED:
        raise UnknownFormat(
            "Images are written whole, as one file.",
            received=f"{path.name}, a header without voxels",
            cure="Choose .mha or .nrrd.",
        )
    if not geometry.is_orthogonal:
        raise UnknownFormat(
            f"{path.suffix} holds grids whose axes meet at right angles.",
            received="an oblique grid",
            cure="Write .nii.gz instead.",
        )
    stored = array.astype(np.uint8) if array.dtype == np.bool_ else array
    stored = stored.astype(np.float32) if stored.dtype == np.float16 else stored
    single = stored.shape[0] == 1
    image = sitk.GetImageFromArray(stored[0].T if single else stored.T, isVector=not single)
    frame = geometry.to_lps()
    image.SetOrigin(frame.origin_mm.tolist())
    image.SetDirection(frame.direction.ravel().tolist())
    image.SetSpacing(frame.spacing_mm)
    with atomic_file(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=compress)
        except RuntimeError as error:
            raise OSError(_last_line(error)) from error


def _reader(path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    kind = "Nrrd" if suffix_of(path) in NRRD_SUFFIXES else "Meta"
    reader.SetImageIO(f"{kind}ImageIO")
    return reader


def _geometry_of(image: Any) -> Geometry:
    """The first three axes of a SimpleITK image or of a reader that has read the header."""
    count = image.GetDimension()
    axes = min(count, 3)
    size, spacing, origin = np.ones(3, int), np.ones(3), np.zeros(3)
    size[:axes] = image.GetSize()[:axes]
    spacing[:axes] = image.GetSpacing()[:axes]
    origin[:axes] = image.GetOrigin()[:axes]
    direction = np.eye(3)
    direction[:axes, :axes] = np.reshape(image.GetDirection(), (count, count))[:axes, :axes]
    grid_size: GridSize = (int(size[0]), int(size[1]), int(size[2]))
    i, j, k = spacing.tolist()
    return Geometry.from_lps(LpsFrame(origin, direction, (i, j, k)), grid_size)


def _unreadable(path: Path, error: RuntimeError) -> UnreadableFile:
    return UnreadableFile(
        f"{path} must be a whole image of the kind that its name says.",
        received=_last_line(error),
        cure="Copy or convert it again from its source.",
    )


def _last_line(error: RuntimeError) -> str:
    """ITK's own sentence, without the file and line of its source that stand before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("): ")[2] if lines else "unknown error"
