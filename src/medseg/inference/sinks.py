"""Where the masks of a sequence go: a video with an overlay, a folder of PNGs, or a DICOM-SEG."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from medseg.bundle import Bundle
from medseg.errors import CannotWrite, InvalidSegmentation, UnknownFormat
from medseg.inference.frame_kernels import Pixels
from medseg.volume.frames import Frames
from medseg.volume.geometry import picture_geometry
from medseg.volume.io import write_label_map
from medseg.volume.video import VIDEO_SUFFIXES, VideoWriter
from medseg.volume.volume import LabelMap

if TYPE_CHECKING:
    from medseg.volume.dicom_cine_seg import CineSegmentation

Output = Literal["video", "png", "dicom-seg"]

REPORT_FILE = "stream.json"


@dataclass(frozen=True, eq=False)
class Finished:
    """A frame that is to be written.

    Attributes:
        number: Its place in the sequence, from 1.
        name: What a file about it is called.
        label_map: Its mask.
        picture: The frame with the mask over it, RGB, shape (rows, columns, 3), if it was drawn.
    """

    number: int
    name: str
    label_map: LabelMap
    picture: Pixels | None


class Sink(Protocol):
    """Takes what is finished.

    Attributes:
        wants_pictures: Whether frames shall be drawn for it.
    """

    wants_pictures: bool

    def add(self, finished: Finished) -> None:
        """Take a frame."""
        ...


class OverlayVideo:
    """A video of the frames with their masks over them.

    Args:
        writer: Writes it.
    """

    wants_pictures = True

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer

    def add(self, finished: Finished) -> None:
        """Write a frame at its time."""
        if finished.picture is not None:
            self._writer.add(finished.picture, finished.number)


class MaskFolder:
    """A PNG of label values for each frame.

    Args:
        folder: Where they shall be.

    Raises:
        CannotWrite: If PNGs or the record of an earlier stream lie there.
    """

    wants_pictures = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if folder.exists() and (not folder.is_dir() or any(folder.glob("*.png"))):
            raise CannotWrite(
                "The masks of a sequence get a folder of their own.",
                received=f"{folder}, where something lies already",
                cure="Choose another folder with --out, or empty this one.",
            )

    def add(self, finished: Finished) -> None:
        """Write a mask."""
        mask = finished.label_map
        place = picture_geometry(mask.geometry.grid_size)
        path = self._folder / f"{finished.name}.png"
        write_label_map(LabelMap(mask.array, place, mask.labels, mask.source), path)


class MaskSegmentation:
    """One multi-frame DICOM-SEG.

    Args:
        writer: Writes it.
    """

    wants_pictures = False

    def __init__(self, writer: "CineSegmentation") -> None:
        self._writer = writer

    def add(self, finished: Finished) -> None:
        """Keep a mask."""
        self._writer.add(finished.label_map.array[..., 0].T, finished.number)


def output_of(out: Path) -> Output:
    """What a name asks for by its ending.

    Raises:
        UnknownFormat: If it has another ending.
    """
    suffix = out.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix == ".dcm":
        return "dicom-seg"
    if suffix and not out.is_dir():
        raise UnknownFormat(
            "Masks of a sequence go into a video, a DICOM-SEG (.dcm) or a folder.",
            received=out.name,
            cure=f"End the name in {', '.join(VIDEO_SUFFIXES)} or .dcm, or name a folder.",
        )
    return "png"


def report_path(out: Path, output: Output) -> Path:
    """Where the report of a stream lies: in the folder of masks, or beside the file."""
    return out / REPORT_FILE if output == "png" else out.with_name(f"{out.stem}.{REPORT_FILE}")


@contextmanager
def open_sink(
    out: Path, output: Output, frames: Frames, bundle: Bundle, *, fps: float
) -> Iterator[Sink]:
    """A block that writes masks; its files are whole at the end, and none is half after an error.

    Args:
        out: The file or folder.
        output: What it becomes.
        frames: The sequence.
        bundle: What makes the masks.
        fps: The pace of a video.

    Raises:
        CannotWrite: If the place cannot be written to.
        InvalidSegmentation: If a DICOM-SEG cannot be made of this sequence.
        MissingDependency: If a video cannot be written here.
    """
    match output:
        case "video":
            with VideoWriter(out, fps=fps, columns=frames.columns, rows=frames.rows) as video:
                yield OverlayVideo(video)
        case "png":
            yield MaskFolder(out)
        case "dicom-seg":
            with _segmentation(out, frames, bundle) as segmentation:
                yield MaskSegmentation(segmentation)


def _segmentation(path: Path, frames: Frames, bundle: Bundle) -> "CineSegmentation":
    """What writes the DICOM-SEG of a sequence.

    Raises:
        InvalidSegmentation: If the sequence is no DICOM file.
    """
    if frames.format != "dicom":
        raise InvalidSegmentation(
            "A DICOM-SEG refers to the DICOM file that it was made from.",
            received=f"{frames.path.name}, no DICOM",
            cure="Write a video (.mp4) or a folder of masks.",
        )
    from medseg.volume.dicom_cine_seg import CineSegmentation  # highdicom is slow to load

    version = bundle.weights_sha256[:16] or "unsaved"
    return CineSegmentation(
        path, frames.path, bundle.labels, algorithm=bundle.name, version=version
    )
