"""TIFF pictures and stacks, through tifffile; compressions it lacks, through Pillow.

A stack becomes K. Pixel sizes are read where they are physical: our own affine, OME-XML, ImageJ.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageSequence

from medseg.errors import UnknownFormat
from medseg.files import atomic_file
from medseg.types import AnyArray, SpacingMm
from medseg.volume.geometry import Geometry, picture_geometry

_AFFINE = "affine_ras_mm"
_ROLES = {"S": "C", "Q": "Z", "I": "Z"}
"""tifffile's letters for samples and for pages of no stated meaning."""

_MM_PER_UNIT = {
    "m": 1000.0, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "\\u00B5m": 1e-3,
    "nm": 1e-6, "inch": 25.4,
}  # fmt: skip


def read_tiff(path: Path) -> tuple[AnyArray, Geometry]:
    """Read pixels of shape (C, I, J, K) in the file's type, and where they lie.

    Raises:
        UnknownFormat: If there are axes beside channels and space.
    """
    with tifffile.TiffFile(path) as tiff:
        geometry = _geometry_of(tiff, path)
        series = tiff.series[0]
        roles = _roles(series, path)
        try:
            pixels = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            pixels = _decoded_by_pillow(path).reshape(series.shape)
    pixels = pixels.reshape([count for role, count in roles if role])
    names = [role for role, _ in roles if role]
    pixels = pixels.transpose([names.index(name) for name in "CXYZ" if name in names])
    pixels = np.expand_dims(pixels, [n for n, name in enumerate("CXYZ") if name not in names])
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False), geometry


def read_tiff_geometry(path: Path) -> Geometry:
    """Read the header only."""
    with tifffile.TiffFile(path) as tiff:
        return _geometry_of(tiff, path)


def write_tiff(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write pixels of shape (C, I, J, K), deflated, with the affine in the description.

    Raises:
        CannotWrite: If the file cannot be written.
    """
    colour = array.shape[0] in (3, 4) and array.dtype == np.uint8
    pages = array.transpose(3, 2, 1, 0) if colour else array.transpose(0, 3, 2, 1)
    with atomic_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            np.ascontiguousarray(pages.astype(np.uint8) if pages.dtype == np.bool_ else pages),
            photometric="rgb" if colour else "minisblack",
            compression="zlib",
            metadata={"axes": "ZYXS" if colour else "CZYX", _AFFINE: geometry.affine.tolist()},
        )


def _roles(series: Any, path: Path) -> list[tuple[str, int]]:
    """For each axis, what it is of C, X, Y, Z ("" for one of length 1) and its length."""
    roles = []
    for letter, count in zip(series.axes, series.shape, strict=True):
        role = _ROLES.get(letter, letter)
        roles.append(("" if count == 1 and role not in "XY" else role, count))
    names = [role for role, _ in roles if role]
    if not {"X", "Y"} <= set(names) <= set("CXYZ") or len(names) > len(set(names)):
        raise UnknownFormat(
            f"{path} must have axes of space and one of channels.",
            received=f"axes {series.axes} of {' x '.join(map(str, series.shape))}",
            cure="Save one file for each time point.",
        )
    return roles


def _decoded_by_pillow(path: Path) -> AnyArray:
    with Image.open(path) as image:
        return np.stack([np.array(page) for page in ImageSequence.Iterator(image)])


def _geometry_of(tiff: Any, path: Path) -> Geometry:
    length = dict(_roles(tiff.series[0], path))
    grid_size = (length["X"], length["Y"], length.get("Z", 1))
    for described in tiff.shaped_metadata or ():
        if _AFFINE in described:
            return Geometry(np.array(described[_AFFINE]), grid_size)
    return picture_geometry(grid_size, _physical_spacing(tiff))


def _physical_spacing(tiff: Any) -> SpacingMm:
    """Pixel sizes from OME-XML or ImageJ's fields; 1 mm where neither names a unit."""
    if tiff.is_ome and tiff.ome_metadata:
        images = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        pixels = (images[0] if isinstance(images, list) else images)["Pixels"]
        return _spacing(
            (pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
            for axis in "XYZ"
        )
    if tiff.is_imagej and tiff.imagej_metadata:
        unit, tags = tiff.imagej_metadata.get("unit", ""), tiff.pages[0].tags
        dots = [tags[n].value if n in tags else (0, 1) for n in ("XResolution", "YResolution")]
        sizes = [lower / upper if upper else None for upper, lower in dots]
        return _spacing((size, unit) for size in (*sizes, tiff.imagej_metadata.get("spacing")))
    return 1.0, 1.0, 1.0


def _spacing(sizes: Iterable[tuple[float | None, str]]) -> SpacingMm:
    i, j, k = (
        float(size) * _MM_PER_UNIT[unit] if size and unit in _MM_PER_UNIT else 1.0
        for size, unit in sizes
    )
    return i, j, k
