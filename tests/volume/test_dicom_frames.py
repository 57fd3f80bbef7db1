"""Multi-frame DICOM as a sequence: values, pace, pixel sizes, and files that were cut."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import RLELossless

from medseg.errors import BrokenFrame, UndecodablePixels, UnknownFormat, UnreadableFile
from medseg.volume.dicom_frames import dicom_frames
from medseg.volume.frames import pixels_of
from sequences import made_up_frames, write_cine


@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, RLELossless])
def test_grey_frames_are_what_was_stored(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    pixels = made_up_frames(4)
    frames = dicom_frames(write_cine(tmp_path / "a.dcm", pixels, syntax=syntax))
    assert (frames.count, frames.fps, frames.modality, frames.channels) == (4, 25.0, "US", 1)
    found = [pixels_of(frame.read())[..., 0] for frame in frames]
    assert (np.stack(found) == pixels).all()


@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, RLELossless])
def test_colours_are_rgb(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    pixels = np.stack([made_up_frames(3), 255 - made_up_frames(3), made_up_frames(3) // 2], -1)
    frames = dicom_frames(write_cine(tmp_path / "a.dcm", pixels, syntax=syntax))
    assert frames.channels == 3
    assert (np.stack([pixels_of(frame.read()) for frame in frames]) == pixels).all()


def test_jpeg_colours_as_ultrasound_has_them(tmp_path: Path) -> None:
    pixels = np.stack([made_up_frames(3), 255 - made_up_frames(3), made_up_frames(3) // 2], -1)
    path = write_cine(tmp_path / "a.dcm", pixels, PhotometricInterpretation="YBR_FULL_422")
    cine, stored = pydicom.dcmread(path), []
    for frame in pixels:
        Image.fromarray(frame).save(buffer := BytesIO(), "JPEG", quality=95)
        stored.append(buffer.getvalue())
    cine.PixelData = pydicom.encaps.encapsulate(stored)
    cine["PixelData"].is_undefined_length = True
    cine.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    cine.save_as(path)
    found = np.stack([pixels_of(frame.read()) for frame in dicom_frames(path)]).astype(int)
    assert np.abs(found - pixels).mean() < 4


def test_grey_values_are_real_values(tmp_path: Path) -> None:
    pixels = made_up_frames(2).astype(np.uint16) * 16
    path = write_cine(
        tmp_path / "a.dcm", pixels, RescaleSlope="0.5", RescaleIntercept="-10",
        WindowCenter="100", WindowWidth="50",
    )  # fmt: skip
    frames = dicom_frames(path)
    assert frames.shown_range == (75.0, 125.0)
    assert pixels_of(next(iter(frames)).read())[..., 0] == pytest.approx(pixels[0] * 0.5 - 10)


def test_dark_is_bright_in_monochrome1(tmp_path: Path) -> None:
    path = write_cine(
        tmp_path / "a.dcm", made_up_frames(1), PhotometricInterpretation="MONOCHROME1"
    )
    assert dicom_frames(path).shown_range == (255.0, 0.0)


def test_the_size_of_a_pixel_comes_from_the_region_of_an_ultrasound(tmp_path: Path) -> None:
    region = pydicom.Dataset()
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.05, -0.02
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    path = write_cine(tmp_path / "a.dcm", made_up_frames(1), SequenceOfUltrasoundRegions=[region])
    assert next(iter(dicom_frames(path))).read().spacing_mm == pytest.approx((0.5, 0.2, 1.0))
    said = next(iter(dicom_frames(path, spacing_mm=2.0))).read()
    assert said.spacing_mm == pytest.approx((2.0, 2.0, 1.0))


@pytest.mark.parametrize(
    ("facts", "fps"),
    [
        ({"RecommendedDisplayFrameRate": 12}, 12.0),
        ({"CineRate": "30"}, 30.0),
        ({"FrameTime": None, "FrameTimeVector": ["0", "20", "60"]}, 25.0),
        ({"FrameTime": None}, None),
    ],
)
def test_the_pace_is_what_the_file_says(tmp_path: Path, facts: dict, fps: float | None) -> None:
    assert dicom_frames(write_cine(tmp_path / "a.dcm", made_up_frames(1), **facts)).fps == fps


def test_a_file_that_was_cut_loses_the_frames_behind_the_cut(tmp_path: Path) -> None:
    path = write_cine(tmp_path / "a.dcm", made_up_frames(4))
    path.write_bytes(path.read_bytes()[: -24 * 32 - 5])
    first, second, third = dicom_frames(path)
    assert first.read().array.shape == second.read().array.shape
    with pytest.raises(BrokenFrame, match=r"frame 3: .* bytes of pixels"):
        third.read()


def test_a_frame_that_no_decoder_reads_is_named_by_its_number(tmp_path: Path) -> None:
    path = write_cine(tmp_path / "a.dcm", made_up_frames(3), syntax=RLELossless)
    cine = pydicom.dcmread(path)
    stored = list(pydicom.encaps.generate_frames(cine.PixelData, number_of_frames=3))
    stored[1] = b"\x07" * 70
    cine.PixelData = pydicom.encaps.encapsulate(stored)
    cine.save_as(path)
    first, second, third = dicom_frames(path)
    with pytest.raises(BrokenFrame, match="frame 2: "):
        second.read()
    assert first.read().array.shape == third.read().array.shape


def test_what_is_no_sequence_is_refused(tmp_path: Path) -> None:
    path = write_cine(tmp_path / "a.dcm", made_up_frames(1))
    header = pydicom.dcmread(path)
    del header.Rows
    header.save_as(tmp_path / "b.dcm")
    with pytest.raises(UnknownFormat, match="Ultrasound Multi-frame"):
        dicom_frames(tmp_path / "b.dcm")
    with pytest.raises(UndecodablePixels, match=r"1 in c\.dcm"):
        dicom_frames(write_cine(tmp_path / "c.dcm", made_up_frames(1), BitsAllocated=1))
    (tmp_path / "d.dcm").write_bytes(path.read_bytes()[:400])
    with pytest.raises((UnreadableFile, UnknownFormat), match=r"d\.dcm"):
        dicom_frames(tmp_path / "d.dcm")
