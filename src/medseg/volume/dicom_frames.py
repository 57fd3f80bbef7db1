"""Multi-frame DICOM as a sequence in time: ultrasound, angiography, fluoroscopy, endoscopy.

Frames follow each other as they are stored, and are decoded one at a time. Grey values become real
values by the rescale slope and intercept; colours become 8-bit RGB. MPEG and HEVC streams inside of
DICOM go through `medseg.volume.video`.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_color_lut
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import ImplicitVRLittleEndian, MPEGTransferSyntaxes

from medseg.errors import UndecodablePixels, UnknownFormat, UnreadableFile
from medseg.types import AnyArray
from medseg.volume.dicom_slices import class_name, flattened
from medseg.volume.frames import Frame, Frames, broken, frame_of, numbered, read_broken
from medseg.volume.volume import Source, Volume

_CENTIMETRES = 3
"""The unit of an ultrasound region (PS3.3, C.8.5.5.1.15)."""

_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, eq=False)
class _Sequence:
    """What the header says about every frame.

    Attributes:
        path: The file.
        header: All but the pixels.
        spacing_mm: Width and height of a pixel.
        slope: Real value = stored value x slope + intercept.
        intercept: See slope.
    """

    path: Path
    header: Any
    spacing_mm: tuple[float, float]
    slope: float
    intercept: float

    @property
    def is_grey(self) -> bool:
        return str(self.header.PhotometricInterpretation) in _GREY

    def decoded(self, number: int, stored: bytes) -> Volume:
        """The frame of these bytes.

        Raises:
            BrokenFrame: If no decoder reads them.
        """
        header = copy.copy(self.header)
        header.NumberOfFrames = 1
        syntax = header.file_meta.TransferSyntaxUID
        header.PixelData = encapsulate([stored]) if syntax.is_compressed else stored
        header["PixelData"].VR = "OW" if header.BitsAllocated > 8 else "OB"
        try:
            pixels = self._real(header, np.asarray(pydicom.pixels.pixel_array(header)))
        except Exception as error:  # decoders raise whatever their C libraries give them
            raise broken(self.path, number, str(error) or type(error).__name__) from error
        source = Source((self.path,), "dicom", str(header.get("Modality") or ""))
        return frame_of(pixels, spacing_mm=self.spacing_mm, source=source)

    def _real(self, header: Any, stored: AnyArray) -> AnyArray:
        """Real values of grey frames, 8-bit RGB of others; shape (rows, columns[, 3])."""
        if str(header.PhotometricInterpretation) == "PALETTE COLOR":
            stored = apply_color_lut(stored, header)
        if not self.is_grey:
            if stored.dtype.itemsize > 1:
                stored = (stored >> 8).astype(np.uint8)
            return np.asarray(stored[..., :3])
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored
        return np.asarray(stored * np.float32(self.slope) + np.float32(self.intercept))


def dicom_frames(path: Path, *, spacing_mm: float | None = None) -> Frames:
    """The frames of a multi-frame DICOM file; a single image is a sequence of one.

    Args:
        path: The file.
        spacing_mm: Width and height of a pixel, instead of what the file says; 1 mm where neither
            does.

    Raises:
        UnreadableFile: If it is no whole DICOM file.
        UnknownFormat: If it holds no image.
        UndecodablePixels: If its pixels have no bytes of their own (1 bit).
        MissingDependency: If it holds a video and PyAV is not installed.
    """
    header = _header(path)
    _require_image(header, path)
    place, syntax = _place(header), header.file_meta.TransferSyntaxUID
    spacing = (spacing_mm, spacing_mm) if spacing_mm else _spacing(header, place)
    fps, modality = _fps(header), str(header.get("Modality") or "")
    if syntax in MPEGTransferSyntaxes:
        return _of_video(path, header, spacing[0], fps)
    sequence = _Sequence(
        path,
        header,
        spacing,
        float(place.get("RescaleSlope") or 1.0),
        float(place.get("RescaleIntercept") or 0.0),
    )

    def opened() -> Iterator[Frame]:
        with path.open("rb") as file:
            for number, stored in enumerate(_stored(header, file), start=1):
                read = (
                    partial(sequence.decoded, number, stored)
                    if isinstance(stored, bytes)
                    else read_broken(path, number, str(stored))
                )
                yield Frame(number, numbered(number), read)

    return Frames(
        path,
        "dicom",
        int(header.Columns),
        int(header.Rows),
        1 if sequence.is_grey else 3,
        _count(header),
        fps,
        opened,
        modality,
        _shown_range(header, place) if sequence.is_grey else None,
    )


def _header(path: Path) -> Any:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        header.walk(lambda _, element: element.value, recursive=False)
    except Exception as error:  # a broken header makes pydicom raise whatever its parser meets
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    if not getattr(header, "file_meta", {}).get("TransferSyntaxUID"):
        header.file_meta = getattr(header, "file_meta", pydicom.dataset.FileMetaDataset())
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return header


def _require_image(header: Any, path: Path) -> None:
    if not header.get("Rows") or not header.get("Columns"):
        raise UnknownFormat(
            "A sequence is a DICOM file of images.",
            received=f"{path.name}, {class_name(str(header.get('SOPClassUID', '')))}",
            cure="Name the file of the cine loop itself.",
        )
    for keyword in ("PhotometricInterpretation", "BitsAllocated", "SamplesPerPixel"):
        if not header.get(keyword):
            raise _unreadable(path, f"a header without {keyword}")
    if header.BitsAllocated not in (8, 16, 32):
        raise UndecodablePixels(
            "Frames hold 8, 16 or 32 bits in each value.",
            received=f"{header.BitsAllocated} in {path.name}",
            cure="Export the loop as grey values or colours.",
        )


def _stored(header: Any, file: BinaryIO) -> Iterator[bytes | Exception]:
    """The bytes of each frame as they are stored; in the place of what is missing, the reason."""
    syntax, count = header.file_meta.TransferSyntaxUID, _count(header)
    number = 0
    try:
        pixels = _pixel_element(header, file)
        if syntax.is_compressed and not syntax.is_deflated:
            table = _extended_offsets(header)
            found = generate_frames(pixels, number_of_frames=count, extended_offsets=table)
        else:
            found = _plain(header, pixels, count)
        for number, stored in enumerate(found, start=1):  # noqa: B007
            yield stored
    except Exception as error:  # a file that was cut ends the walk through its frames anywhere
        yield error if str(error) else EOFError("the file ends before it")
        return
    if number < count:
        yield EOFError(f"the file ends before it, where {count} frames are announced")


def _plain(header: Any, pixels: BinaryIO, count: int) -> Iterator[bytes]:
    single = copy.copy(header)
    single.NumberOfFrames = 1
    length = get_expected_length(single)
    for _ in range(count):
        stored = pixels.read(length)
        if len(stored) < length:
            raise EOFError(f"{len(stored)} bytes of pixels, where {length} are expected")
        yield stored


def _pixel_element(header: Any, file: BinaryIO) -> BinaryIO:
    """A stream that stands at the first byte of the pixels' value."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_deflated:
        return BytesIO(pydicom.dcmread(file, force=True).PixelData)
    pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=["Rows"])
    file.read(8 if syntax == ImplicitVRLittleEndian else 12)
    return file


def _extended_offsets(header: Any) -> Any:
    if "ExtendedOffsetTable" not in header:
        return None
    return header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths


def _of_video(path: Path, header: Any, spacing_mm: float, fps: float | None) -> Frames:
    """A stream of MPEG or HEVC, which takes the room of its compressed bytes."""
    from medseg.volume.video import video_frames

    with path.open("rb") as file:
        stored = next(iter(generate_frames(_pixel_element(header, file), number_of_frames=1)))
    modality = str(header.get("Modality") or "")
    found = video_frames(path, spacing_mm=spacing_mm, content=stored, modality=modality)
    return replace(found, fps=fps or found.fps)


def _place(header: Any) -> Any:
    """What an enhanced file says for all of its frames, or a classic one at its top."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    own = (header.get("PerFrameFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    place = flattened(own, shared)
    window = own.get("FrameVOILUTSequence") or shared.get("FrameVOILUTSequence") or ()
    for item in window[:1]:
        place.update(item)
    for keyword in (
        "PixelSpacing", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    ):  # fmt: skip
        if keyword not in place and header.get(keyword) is not None:
            setattr(place, keyword, header.get(keyword))
    return place


def _spacing(header: Any, place: Any) -> tuple[float, float]:
    """Width and height of a pixel in mm, from whichever attribute the modality has."""
    for values in (place.get("PixelSpacing"), header.get("ImagerPixelSpacing")):
        if values and len(values) == 2 and min(map(float, values)) > 0:
            return float(values[1]), float(values[0])
    for region in header.get("SequenceOfUltrasoundRegions") or ():
        across, down = (abs(float(region.get(f"PhysicalDelta{a}") or 0)) for a in "XY")
        units = {region.get(f"PhysicalUnits{a}Direction") for a in "XY"}
        if units == {_CENTIMETRES} and across > 0 and down > 0:
            return 10 * across, 10 * down
    return 1.0, 1.0


def _fps(header: Any) -> float | None:
    """Frames a second, as the file wants to be played or was taken."""
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        if header.get(keyword):
            return float(header.get(keyword))
    times = [float(ms) for ms in header.get("FrameTimeVector") or ()][1:]
    frame_ms = float(header.get("FrameTime") or 0) or (sum(times) / len(times) if times else 0.0)
    return 1000 / frame_ms if frame_ms > 0 else None


def _shown_range(header: Any, place: Any) -> tuple[float, float] | None:
    """Values that are shown black and white; the other way round for MONOCHROME1."""
    centre, width = (_first(place.get(f"Window{word}")) for word in ("Center", "Width"))
    wide = int(header.get("BitsStored") or header.BitsAllocated) > 8
    ends = None
    if wide and centre is not None and width:
        ends = (centre - width / 2, centre + width / 2)
    if str(header.PhotometricInterpretation) != "MONOCHROME1":
        return ends
    low, high = ends or (0.0, float((1 << int(header.get("BitsStored") or 8)) - 1))
    return high, low


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)


def _count(header: Any) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _unreadable(path: Path, what: str) -> UnreadableFile:
    return UnreadableFile(
        f"{path} must be a whole DICOM file.",
        received=" ".join(what.split())[:160],
        cure="Export the loop again.",
    )
