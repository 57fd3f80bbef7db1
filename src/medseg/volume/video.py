"""Videos, read and written through PyAV: FFmpeg's libraries, an optional package.

Colours are 8-bit RGB, grey videos stay grey. What is written is H.264 where FFmpeg has an encoder
for it, else MPEG-4, and each frame has its own time: a sequence with gaps keeps its pace.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from medseg.errors import MissingDependency, UnknownFormat, UnreadableFile
from medseg.files import atomic_file
from medseg.volume.frames import Frame, Frames, broken, frame_of, numbered, read_broken
from medseg.volume.volume import Source, Volume

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
"""What a video that is written may be called."""

_ENCODERS = {
    "libx264": {"preset": "superfast", "crf": "20"},
    "libopenh264": {},
    "mpeg4": {"qscale": "3"},
}
"""Those that are tried, in this order: quick ones of good quality rather than small files."""


def video_frames(
    path: Path,
    *,
    spacing_mm: float | None = None,
    content: bytes | None = None,
    modality: str = "",
) -> Frames:
    """The frames of a video.

    Args:
        path: The file.
        spacing_mm: Width and height of a pixel; 1 mm where not given.
        content: The video itself, where it lies inside of another file.
        modality: DICOM's word, where it is known.

    Raises:
        MissingDependency: If PyAV is not installed.
        UnreadableFile: If it is no video, or damaged.
    """
    av = _pyav()
    with _container(av, path, content) as container:
        stream, count = container.streams.video[0], _count(container)
        context = stream.codec_context
        grey = str(context.pix_fmt or "").startswith("gray")
        fps = float(stream.average_rate) if stream.average_rate else None
        size = (int(context.width), int(context.height))

    def opened() -> Iterator[Frame]:
        read = partial(_read, path, "gray" if grey else "rgb24", spacing_mm or 1.0, modality)
        with _container(av, path, content) as container:
            number = 0
            for found in _decoded(av, container):
                number += 1
                if isinstance(found, str):
                    yield Frame(number, numbered(number), read_broken(path, number, found))
                else:
                    yield Frame(number, numbered(number), partial(read, number, found))
            if number < (count or 0):
                what = f"missing: the video says that it has {count} frames"
                yield Frame(number + 1, numbered(number + 1), read_broken(path, number + 1, what))

    kind: Literal["dicom", "video"] = "dicom" if content is not None else "video"
    return Frames(path, kind, *size, 1 if grey else 3, count, fps, opened, modality)


class VideoWriter:
    """Writes a video; leave it as a context manager, and the file is whole.

    Args:
        path: Where the file shall be; it ends in one of `VIDEO_SUFFIXES`.
        fps: Frames a second.
        columns: Width of the frames. A video of odd size repeats its last column or row.
        rows: Height of the frames.

    Raises:
        MissingDependency: If PyAV is not installed, or its FFmpeg writes no video.
        UnknownFormat: If the name ends otherwise.
        CannotWrite: If the file cannot be written.
    """

    def __init__(self, path: Path, *, fps: float, columns: int, rows: int) -> None:
        self._av = _pyav()
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise UnknownFormat(
                f"The name of a video ends in {', '.join(VIDEO_SUFFIXES)}.",
                received=path.name,
                cure="Choose one of these.",
            )
        self.encoder, options = _encoder(self._av)
        self._even = (rows % 2, columns % 2)
        self._stack = ExitStack()
        try:
            temporary = self._stack.enter_context(atomic_file(path))
            self._container = self._av.open(str(temporary), "w")
        except BaseException:
            self._stack.close()
            raise
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream(self.encoder, rate=rate, options=options)
        self._stream.width, self._stream.height = columns + columns % 2, rows + rows % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.thread_count = 1

    def __enter__(self) -> Self:
        return self

    def add(self, pixels: npt.NDArray[np.uint8], number: int) -> None:
        """Write a frame.

        Args:
            pixels: RGB, shape (rows, columns, 3).
            number: Its place in time, from 1; larger than that of the frame before.
        """
        if any(self._even):
            pixels = np.pad(pixels, [*((0, more) for more in self._even), (0, 0)], mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts = number - 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file; after an error nothing is left."""
        if error is not None:
            with suppress(OSError, ValueError):  # a full disk refuses the end of the file too
                self._container.close()
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise MissingDependency(
            "Videos are read and written by the package av (PyAV).",
            received="a Python without it",
            cure="Run: pip install 'medseg[video]'. Folders of pictures and DICOM need no package.",
        ) from error
    return av


def _container(av: ModuleType, path: Path, content: bytes | None) -> Any:
    """An open container with a video in it."""
    try:
        container = av.open(str(path) if content is None else BytesIO(content))
    except (av.error.FFmpegError, ValueError) as error:
        raise _unreadable(path, str(getattr(error, "strerror", "") or error)) from error
    if not container.streams.video:
        container.close()
        raise _unreadable(path, "a file without a video in it")
    container.streams.video[0].codec_context.thread_count = 1
    return container


def _unreadable(path: Path, what: str) -> UnreadableFile:
    return UnreadableFile(
        f"{path} must be a video that FFmpeg reads.",
        received=what,
        cure="Check that the file was copied whole, or convert it: ffmpeg -i IN OUT.mp4.",
    )


def _count(container: Any) -> int | None:
    return int(container.streams.video[0].frames) or None


def _decoded(av: ModuleType, container: Any) -> Iterator[Any]:
    """Frames; in the place of one that cannot be decoded, the reason as text."""
    stream = container.streams.video[0]
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            yield str(error.strerror)
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            yield str(error.strerror)
            continue
        for frame in frames:
            yield "damaged data" if frame.is_corrupt else frame


def _read(
    path: Path, pixel_format: str, spacing_mm: float, modality: str, number: int, found: Any
) -> Volume:
    try:
        pixels = found.to_ndarray(format=pixel_format)
    except (ValueError, OSError) as error:
        raise broken(path, number, str(error)) from error
    source = Source((path,), "dicom" if modality else "image", modality)
    return frame_of(pixels, spacing_mm=(spacing_mm, spacing_mm), source=source)


def _encoder(av: ModuleType) -> tuple[str, dict[str, str]]:
    for name, options in _ENCODERS.items():
        if name in av.codecs_available:
            return name, options
    raise MissingDependency(
        "Writing a video takes an encoder for H.264 or MPEG-4.",
        received="an FFmpeg without one",
        cure="Install PyAV's own wheel: pip install 'medseg[video]', or write masks to a folder.",
    )
