"""Reading and writing images and label maps: which reader a file needs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medseg.errors import LabelError, MissingPath, UnknownFormat, UnreadableFile
from medseg.types import AnyArray, IntArray
from medseg.volume.formats import (
    IMAGE_SUFFIXES,
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    PICTURE_SUFFIXES,
    format_of,
    is_dicom_file,
    is_image_file,
    stem_of,
    suffix_of,
    unknown_format,
)
from medseg.volume.geometry import Geometry
from medseg.volume.labels import LARGEST_LABEL, Label, Labels
from medseg.volume.volume import LabelMap, Source, Volume, distinct_values

__all__ = [
    "IMAGE_SUFFIXES", "is_dicom_file", "is_image_file", "read_geometry", "read_label_map",
    "read_volume", "stem_of", "write_label_map", "write_volume",
]  # fmt: skip


def read_volume(
    paths: Path | Sequence[Path], *, channel_names: Sequence[str] | None = None
) -> Volume:
    """Read an image.

    Args:
        paths: One file (all channels in it), one folder of DICOM slices, or several of these,
            which become the channels in this order.
        channel_names: One for each channel; "image", "red", "green", "blue" or "channel_0",
            "channel_1" and so on where not given.

    Raises:
        MissingPath: If nothing is there.
        UnreadableFile: If a file is empty, truncated, damaged or not what its name says.
        UnknownFormat: If there is no reader for it.
        DifferentSpace: If several files do not share one grid.
        DicomError: If a folder cannot become one volume.
    """
    sources = [paths] if isinstance(paths, Path) else list(paths)
    volumes = [_read_one(path) for path in sources]
    first = volumes[0]
    for path, volume in zip(sources[1:], volumes[1:], strict=True):
        first.geometry.require_same_space(
            volume.geometry, what=f"the channels {sources[0].name} and {path.name}"
        )
    array = np.concatenate([v.array for v in volumes]) if len(volumes) > 1 else first.array
    return Volume(
        array,
        first.geometry,
        tuple(channel_names or _default_names(array.shape[0], first.source.format)),
        Source(
            tuple(path for volume in volumes for path in volume.source.paths),
            first.source.format,
            first.source.modality,
            tuple(remark for volume in volumes for remark in volume.source.remarks),
        ),
    )


def read_geometry(path: Path) -> Geometry:
    """Where the voxels of a file or of a DICOM folder lie; only headers are read.

    Raises:
        FileError: As `read_volume`.
        DicomError: If a folder cannot become one volume.
    """
    if _is_dicom(path):
        from medseg.volume.dicom import read_series_geometry

        return read_series_geometry(path)
    suffix = _require_image(path)
    if suffix in NIFTI_SUFFIXES:
        from medseg.volume.nifti import read_nifti_geometry

        return read_nifti_geometry(path)
    if suffix in ITK_SUFFIXES:
        from medseg.volume.itk import read_itk_geometry

        return read_itk_geometry(path)
    from medseg.volume.pictures import read_picture_geometry

    return read_picture_geometry(path)


def read_label_map(path: Path, labels: Labels | None = None) -> LabelMap:
    """Read label values.

    Args:
        path: An image file of one channel. Floating point is accepted where all values are whole.
        labels: What the values mean; where not given, each value v is called "label_v".

    Raises:
        LabelError: If values are no whole numbers from 0 to 65535, have no label, or are colours.
        FileError: As `read_volume`.
    """
    if _is_dicom(path):
        raise UnknownFormat(
            "A label map is an image file.",
            received=f"{path}, DICOM",
            cure="Turn a DICOM-SEG into one first: medseg convert SEG OUT.nii.gz.",
        )
    suffix = _require_image(path)
    if suffix in PICTURE_SUFFIXES:
        from medseg.volume.pictures import read_picture_labels

        array, geometry = read_picture_labels(path)
    else:
        volume = _read_one(path)
        if volume.array.shape[0] != 1:
            raise LabelError(
                f"{path} must hold one label value in each voxel.",
                received=f"{volume.array.shape[0]} channels",
                cure="Join the channels into one label map, a value for each structure.",
            )
        array, geometry = volume.array[0], volume.geometry
    values = _whole(array, path)
    if labels is None:
        found = sorted(distinct_values(values) - {0})
        labels = tuple(Label(value=v, name=f"label_{v}") for v in found)
    try:
        return LabelMap(values, geometry, labels, Source((path,), format_of(suffix)))
    except LabelError as error:
        received = f"{error.received} in {path}"
        raise LabelError(error.rule, received=received, cure=error.cure) from error


def write_volume(volume: Volume, path: Path) -> None:
    """Write an image in the format that the name ends in; geometry and type are kept.

    Raises:
        UnknownFormat: If there is no writer for it, or the format cannot hold the image.
        CannotWrite: If the file cannot be written.
    """
    _writer(path)(volume.array, volume.geometry, path)


def write_label_map(label_map: LabelMap, path: Path) -> None:
    """Write label values in the smallest unsigned type, in the format that the name ends in.

    Raises:
        UnknownFormat: If there is no writer for it, or the format cannot hold the label map.
        CannotWrite: If the file cannot be written.
    """
    largest = max((label.value for label in label_map.labels), default=0)
    array = label_map.array.astype(np.min_scalar_type(largest), copy=False)
    _writer(path, labels=True)(array[np.newaxis], label_map.geometry, path)


def _read_one(path: Path) -> Volume:
    if _is_dicom(path):
        from medseg.volume.dicom import read_series

        return read_series(path)
    suffix = _require_image(path)
    array, geometry = _reader(suffix)(path)
    names = tuple(_default_names(array.shape[0], ""))
    return Volume(array, geometry, names, Source((path,), format_of(suffix)))


def _reader(suffix: str) -> Callable[[Path], tuple[AnyArray, Geometry]]:
    if suffix in NIFTI_SUFFIXES:
        from medseg.volume.nifti import read_nifti

        return read_nifti
    if suffix in ITK_SUFFIXES:
        from medseg.volume.itk import read_itk

        return read_itk
    from medseg.volume.pictures import read_picture

    return read_picture


def _writer(path: Path, *, labels: bool = False) -> Callable[[AnyArray, Geometry, Path], None]:
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        from medseg.volume.nifti import write_nifti

        return write_nifti
    if suffix in ITK_SUFFIXES:
        from functools import partial

        from medseg.volume.itk import write_itk

        return partial(write_itk, compress=labels)
    if suffix in PICTURE_SUFFIXES:
        from medseg.volume.pictures import write_picture

        return write_picture
    raise unknown_format(path)


def _default_names(count: int, kind: str) -> Sequence[str]:
    if count == 1:
        return ("image",)
    if kind == "image" and count == 3:
        return ("red", "green", "blue")
    return [f"channel_{n}" for n in range(count)]


def _is_dicom(path: Path) -> bool:
    return path.is_dir() or (not suffix_of(path) and is_dicom_file(path))


def _require_image(path: Path) -> str:
    """The suffix of an image file that is there and not empty."""
    if not path.exists():
        raise MissingPath("An image must be there.", received=str(path), cure="Check the path.")
    suffix = suffix_of(path)
    if not suffix:
        raise unknown_format(path)
    if path.is_dir():
        raise UnreadableFile(f"{path} must be a file.", received="a folder")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise UnreadableFile(
            f"{path} must be a file that can be read.", received=error.strerror or str(error)
        ) from error
    if empty:
        raise UnreadableFile(
            f"{path} must hold an image.",
            received="an empty file",
            cure="Copy or convert it again from its source.",
        )
    return suffix


def _whole(array: AnyArray, path: Path) -> IntArray:
    """The same values as integers; the smallest unsigned type where they were floating."""
    whole = array.dtype.kind != "f" or bool((np.isfinite(array) & (array == np.rint(array))).all())
    if not whole:
        raise _not_whole(array, path)
    lowest, largest = array.min(), array.max()
    if lowest < 0 or largest > LARGEST_LABEL:
        raise LabelError(
            f"Label values lie between 0 and {LARGEST_LABEL}.",
            received=f"{lowest:g} to {largest:g} in {path}",
            cure="Renumber them.",
        )
    return array if array.dtype.kind in "iu" else array.astype(np.min_scalar_type(int(largest)))


def _not_whole(array: AnyArray, path: Path) -> LabelError:
    """What else a label map holds: values that are no numbers, or fractions."""
    missing = int(array.size - np.isfinite(array).sum())
    rule = f"{path} must hold whole label values."
    if missing:
        return LabelError(
            rule,
            received=f"{missing} voxels that are no number (NaN or infinite)",
            cure="Set them to 0 if they are background, or write the label map again.",
        )
    fractions = array[array != np.rint(array)]
    return LabelError(
        rule,
        received=f"fractions in {fractions.size} voxels, such as {fractions[0]:.6g}",
        cure="Round them, or resample the label map as labels (nearest or by vote).",
    )
