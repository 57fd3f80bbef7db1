"""Sequences: a folder of pictures, in its order, and whatever is none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import BrokenFrame, MissingPath, UnknownFormat
from medseg.volume.frames import frame_of, open_frames, pixels_of
from medseg.volume.io import read_volume
from sequences import made_up_frames, write_cine, write_pictures


def test_pictures_follow_each_other_by_the_numbers_in_their_names(tmp_path: Path) -> None:
    pixels = made_up_frames(11)
    frames = open_frames(write_pictures(tmp_path / "clip", pixels))
    assert (frames.count, frames.channels, frames.columns, frames.rows) == (11, 1, 32, 24)
    found = list(frames)
    assert [frame.number for frame in found] == list(range(1, 12))
    assert [frame.name for frame in found][8:] == ["9", "10", "11"]
    for frame, wanted in zip(found, pixels, strict=True):
        assert (pixels_of(frame.read())[..., 0] == wanted).all()


def test_a_picture_is_the_same_volume_as_alone(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", made_up_frames(2))
    alone, frame = read_volume(folder / "2.png"), list(open_frames(folder))[1].read()
    assert (alone.array == frame.array).all()
    assert alone.geometry.same_space(frame.geometry)


def test_a_sequence_can_be_gone_through_again(tmp_path: Path) -> None:
    frames = open_frames(write_pictures(tmp_path / "clip", made_up_frames(3)))
    assert len(list(frames)) == len(list(frames)) == 3


def test_the_size_of_a_pixel_can_be_said(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", made_up_frames(1))
    (frame,) = open_frames(folder, spacing_mm=0.5)
    assert frame.read().spacing_mm == pytest.approx((0.5, 0.5, 1.0))


def test_pixels_and_frames_are_inverse() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    frame = frame_of(pixels, spacing_mm=(0.5, 0.25))
    assert frame.array.shape == (3, 3, 2, 1)
    assert frame.spacing_mm == pytest.approx((0.5, 0.25, 1.0))
    assert np.shares_memory(pixels_of(frame), pixels)
    assert (pixels_of(frame) == pixels).all()


def test_a_broken_picture_is_named_by_its_number(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", made_up_frames(3))
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    first, second, third = open_frames(folder)
    with pytest.raises(BrokenFrame, match=r"frame 2: 2\.png"):
        second.read()
    assert first.read().array.shape == third.read().array.shape


def test_a_folder_with_one_dicom_file_is_that_file(tmp_path: Path) -> None:
    write_cine(tmp_path / "loop.dcm", made_up_frames(4))
    assert open_frames(tmp_path).count == 4


def test_what_is_no_sequence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="nothing at"):
        open_frames(tmp_path / "nowhere")
    with pytest.raises(UnknownFormat, match="no picture and 0 DICOM"):
        open_frames(tmp_path)
    folder = write_pictures(tmp_path / "clip", made_up_frames(1))
    with pytest.raises(UnknownFormat, match="a single image"):
        open_frames(folder / "1.png")
    stack = tmp_path / "stack"
    stack.mkdir()
    pages = [Image.fromarray(page) for page in made_up_frames(3)]
    pages[0].save(stack / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UnknownFormat, match="3 pages"):
        open_frames(stack)
