"""A sequence of frames, one at a time: a video, a folder of pictures or a multi-frame DICOM file.

A frame is a Volume with K = 1, as a picture is. It is decoded when it is asked for, so a sequence
of any length takes no more memory than one frame, and a frame that nobody wants costs little.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.errors import BrokenFrame, FileError, MissingPath, UnknownFormat
from medseg.types import AnyArray
from medseg.volume.formats import PICTURE_SUFFIXES, is_dicom_file, is_image_file, suffix_of
from medseg.volume.geometry import picture_geometry
from medseg.volume.io import read_volume
from medseg.volume.volume import Source, Volume


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame that was found and is not yet decoded.

    Attributes:
        number: Its place in the sequence, from 1.
        name: What a file about it is called: the picture's own name, else "frame_000001".
        read: Decodes it; raises BrokenFrame if that cannot be done.
    """

    number: int
    name: str
    read: Callable[[], Volume]


@dataclass(frozen=True, eq=False)
class Frames:
    """A sequence that can be gone through, again and again.

    Attributes:
        path: The file or folder.
        format: What it is.
        columns: Pixels along I.
        rows: Pixels along J.
        channels: 1 for grey, 3 for colour.
        count: How many there are; None where the file does not say.
        fps: Frames a second; None where nobody says.
        opened: Begins to go through it.
        modality: DICOM's word, or "".
        shown_range: Lowest and highest value that are shown, of grey values of more than 8 bits;
            None where the file does not say.
    """

    path: Path
    format: Literal["video", "pictures", "dicom"]
    columns: int
    rows: int
    channels: int
    count: int | None
    fps: float | None
    opened: Callable[[], Iterator[Frame]]
    modality: str = ""
    shown_range: tuple[float, float] | None = None

    def __iter__(self) -> Iterator[Frame]:
        """All frames in their order. A broken one is there too; reading it says so."""
        return self.opened()


def open_frames(path: Path, *, spacing_mm: float | None = None) -> Frames:
    """Find the frames of a sequence; none is decoded but the first of a folder.

    Args:
        path: A video, a folder of pictures (in the order of their names, numbers counted), or one
            multi-frame DICOM file (or the folder that holds it alone).
        spacing_mm: Width and height of a pixel. Where not given it is what DICOM says, else 1 mm.

    Raises:
        MissingPath: If nothing is there.
        UnknownFormat: If it is no sequence.
        UnreadableFile: If it is damaged.
        MissingDependency: If it is a video and PyAV is not installed.
    """
    if not path.exists():
        raise MissingPath(
            "A sequence is a video, a folder of pictures or a multi-frame DICOM file.",
            received=f"nothing at {path}",
            cure="Check the spelling of the path.",
        )
    if path.is_dir():
        pictures = _pictures(path)
        if pictures:
            return _of_pictures(path, pictures, spacing_mm)
        path = _only_dicom(path)
    elif is_image_file(path):
        raise _no_sequence(path, "a single image")
    if is_dicom_file(path):
        from medseg.volume.dicom_frames import dicom_frames

        return dicom_frames(path, spacing_mm=spacing_mm)
    from medseg.volume.video import video_frames

    return video_frames(path, spacing_mm=spacing_mm)


def frame_of(
    pixels: AnyArray, *, spacing_mm: tuple[float, float] = (1.0, 1.0), source: Source | None = None
) -> Volume:
    """The Volume of pixels as cameras give them; nothing is copied.

    Args:
        pixels: Shape (rows, columns) for grey, or (rows, columns, channels).
        spacing_mm: Width and height of a pixel.
        source: Where they came from.
    """
    solid = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    rows, columns, channels = solid.shape
    names = {1: ("image",), 3: ("red", "green", "blue")}.get(channels)
    return Volume(
        solid.transpose(2, 1, 0)[..., np.newaxis],
        picture_geometry((columns, rows, 1), (*spacing_mm, 1.0)),
        names or tuple(f"channel_{n}" for n in range(channels)),
        source or Source(),
    )


def pixels_of(frame: Volume) -> AnyArray:
    """Pixels of a frame as screens want them, shape (rows, columns, channels), without a copy."""
    return np.asarray(frame.array[..., 0].transpose(2, 1, 0))


def numbered(number: int) -> str:
    """What files about a frame without a name of its own are called."""
    return f"frame_{number:06d}"


def broken(path: Path, number: int, what: str) -> BrokenFrame:
    """The error for a frame that cannot be decoded.

    Args:
        path: The sequence.
        number: Which frame, from 1.
        what: What its decoder says.
    """
    return BrokenFrame(
        f"Every frame of {path.name} must be whole.",
        received=f"frame {number}: {' '.join(what.split())[:160]}",
        cure="Export the sequence again, or go on without such frames: --skip-broken.",
    )


def read_broken(path: Path, number: int, what: str) -> Callable[[], Volume]:
    """What `Frame.read` is for a frame of which it is known already that it is broken."""

    def read() -> Volume:
        raise broken(path, number, what)

    return read


def _pictures(folder: Path) -> list[Path]:
    """Pictures of a folder, in the order of their names with numbers counted: 2 before 10."""
    found = [
        path
        for path in folder.iterdir()
        if path.is_file() and is_image_file(path) and suffix_of(path) in PICTURE_SUFFIXES
    ]
    return sorted(found, key=lambda path: (_counted(path.name), path.name))


def _counted(name: str) -> list[tuple[int, str]]:
    """Words and numbers of a name, comparable."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _of_pictures(folder: Path, paths: list[Path], spacing_mm: float | None) -> Frames:
    first = read_volume(paths[0])
    columns, rows, pages = first.geometry.grid_size
    if pages != 1:
        raise _no_sequence(paths[0], f"a stack of {pages} pages")

    def opened() -> Iterator[Frame]:
        for number, path in enumerate(paths, start=1):
            name = path.name[: len(path.name) - len(suffix_of(path))]
            yield Frame(number, name, partial(_read_picture, folder, number, path, spacing_mm))

    channels = first.array.shape[0]
    return Frames(folder, "pictures", columns, rows, channels, len(paths), None, opened)


def _read_picture(folder: Path, number: int, path: Path, spacing_mm: float | None) -> Volume:
    try:
        volume = read_volume(path)
    except FileError as error:
        raise broken(folder, number, f"{path.name}, {error.received or error.rule}") from error
    if spacing_mm is None:
        return volume
    place = picture_geometry(volume.geometry.grid_size, (spacing_mm, spacing_mm, 1.0))
    return Volume(volume.array, place, volume.channel_names, volume.source)


def _only_dicom(folder: Path) -> Path:
    found = [path for path in sorted(folder.iterdir()) if is_dicom_file(path)]
    if len(found) == 1:
        return found[0]
    raise _no_sequence(folder, f"a folder with no picture and {len(found)} DICOM files")


def _no_sequence(path: Path, what: str) -> UnknownFormat:
    return UnknownFormat(
        "A sequence is a video, a folder of pictures or one multi-frame DICOM file.",
        received=f"{path.name}, {what}",
        cure="Name the folder of the frames; for single images run medseg predict.",
    )
