"""Videos: what is read is what was written, gaps keep their time, and damage is told."""

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import BrokenFrame, CannotWrite, MissingDependency, UnknownFormat, UnreadableFile
from medseg.volume import video
from medseg.volume.dicom_frames import dicom_frames
from medseg.volume.frames import open_frames, pixels_of
from medseg.volume.video import VideoWriter, video_frames
from sequences import made_up_frames, write_cine, write_video

av = pytest.importorskip("av", reason="PyAV is not installed")


def rgb_frames(count: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    grey = made_up_frames(count, size)
    return np.stack([grey, 255 - grey, grey // 2], axis=-1)


def test_a_grey_video_keeps_its_values(tmp_path: Path) -> None:
    pixels = made_up_frames(4)
    frames = open_frames(write_video(tmp_path / "a.mkv", pixels, fps=30), spacing_mm=0.5)
    assert (frames.format, frames.channels, frames.fps) == ("video", 1, 30.0)
    found = [frame.read() for frame in frames]
    assert (np.stack([pixels_of(frame)[..., 0] for frame in found]) == pixels).all()
    assert found[0].spacing_mm == pytest.approx((0.5, 0.5, 1.0))


def test_a_colour_video_keeps_its_colours(tmp_path: Path) -> None:
    pixels = rgb_frames(3)
    frames = open_frames(write_video(tmp_path / "a.mkv", pixels))
    assert frames.channels == 3
    assert (np.stack([pixels_of(frame.read()) for frame in frames]) == pixels).all()


@pytest.mark.parametrize("size", [(24, 32), (23, 31)])
def test_what_is_written_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = rgb_frames(6, size)
    with VideoWriter(tmp_path / "a.mp4", fps=12.5, columns=size[1], rows=size[0]) as writer:
        for number, frame in enumerate(pixels, start=1):
            writer.add(frame, number)
    frames = video_frames(tmp_path / "a.mp4")
    assert (frames.count, frames.fps) == (6, 12.5)
    for frame, wanted in zip(frames, pixels, strict=True):
        shown = pixels_of(frame.read())[: size[0], : size[1]]
        assert np.abs(shown.astype(int) - wanted).mean() < 8


def test_frames_after_a_gap_keep_their_time(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps=25, columns=32, rows=24) as writer:
        for number, frame in zip((1, 2, 7), rgb_frames(3), strict=True):
            writer.add(frame, number)
    with av.open(str(tmp_path / "a.mp4")) as container:
        seconds = [frame.time for frame in container.decode(video=0)]
    assert seconds == pytest.approx([0.0, 1 / 25, 6 / 25])


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="on the way"),
        VideoWriter(tmp_path / "a.mp4", fps=25, columns=32, rows=24) as writer,
    ):
        writer.add(rgb_frames(1)[0], 1)
        raise RuntimeError("on the way")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """Files of this process may for a moment not be larger than 20 kB."""
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX's")
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with (
            pytest.raises(CannotWrite, match="all of it must fit"),
            VideoWriter(tmp_path / "a.mkv", fps=25, columns=64, rows=64) as writer,
        ):
            for number, frame in enumerate(noise, start=1):
                writer.add(frame, number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_none_of_a_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match=r"\.mp4, \.mkv, \.mov"):
        VideoWriter(tmp_path / "a.png", fps=25, columns=32, rows=24)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UnreadableFile, match="that FFmpeg reads"):
        video_frames(tmp_path / "a.mp4")


def test_damaged_packets_are_broken_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", made_up_frames(12, (64, 64)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = bytes(n % 251 for n in range(600))
    path.write_bytes(content)
    errors, whole = [], 0
    for frame in video_frames(path):
        try:
            frame.read()
            whole += 1
        except BrokenFrame as error:
            errors.append(str(error))
    assert whole
    assert errors
    assert "frame " in errors[0]


def test_a_video_that_ends_too_early_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mkv", made_up_frames(3))
    monkeypatch.setattr(video, "_count", lambda container: 5)
    *_, last = video_frames(path)
    with pytest.raises(BrokenFrame, match="frame 4: missing: the video says that it has 5"):
        last.read()


def test_a_video_inside_of_dicom_is_read(tmp_path: Path) -> None:
    pixels = rgb_frames(5, (32, 48))
    with VideoWriter(tmp_path / "a.mp4", fps=25, columns=48, rows=32) as writer:
        for number, frame in enumerate(pixels, start=1):
            writer.add(frame, number)
    path = write_cine(tmp_path / "a.dcm", pixels, CineRate="10")
    embed(path, (tmp_path / "a.mp4").read_bytes())
    frames = dicom_frames(path)
    assert (frames.format, frames.count, frames.fps, frames.modality) == ("dicom", 5, 10.0, "US")
    assert np.abs(pixels_of(list(frames)[4].read()).astype(int) - pixels[4]).mean() < 8


def embed(path: Path, content: bytes) -> None:
    import pydicom

    cine = pydicom.dcmread(path)
    cine.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    cine.PixelData = pydicom.encaps.encapsulate([content])
    cine["PixelData"].is_undefined_length = True
    cine.save_as(path)


def test_without_pyav_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependency, match=r"medseg\[video\]"):
        video_frames(tmp_path / "a.mp4")
