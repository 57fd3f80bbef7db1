"""Which file a name asks for, and what lies in it."""

from pathlib import Path

import numpy as np
import pytest
from made_up_sequence import SIZE, bundle_2d, made_up, noise

from medseg.errors import CannotWrite, InvalidSegmentation, UnknownFormat
from medseg.inference.sinks import Finished, open_sink, output_of, report_path
from medseg.volume.volume import LabelMap


def finished(number: int) -> Finished:
    frame = noise(number)
    mask = np.zeros((SIZE[1], SIZE[0], 1), np.uint8)
    mask[2:5, 3:9] = 2
    label_map = LabelMap(mask, frame.geometry, bundle_2d().labels)
    picture = np.repeat(frame.array[0].transpose(1, 0, 2), 3, axis=2)
    return Finished(number, f"frame_{number:06d}", label_map, np.ascontiguousarray(picture))


@pytest.mark.parametrize(
    ("name", "output", "report"),
    [
        ("overlay.mp4", "video", "overlay.stream.json"),
        ("overlay.MOV", "video", "overlay.stream.json"),
        ("seg.dcm", "dicom-seg", "seg.stream.json"),
        ("masks", "png", "masks/stream.json"),
    ],
)
def test_the_ending_says_what_is_written(name: str, output: str, report: str) -> None:
    assert output_of(Path(name)) == output
    assert report_path(Path(name), output_of(Path(name))) == Path(report)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match=r"overlay\.avi"):
        output_of(Path("overlay.avi"))
    (tmp_path / "masks.v2").mkdir()
    assert output_of(tmp_path / "masks.v2") == "png"


def test_masks_are_not_mixed_with_those_of_another_stream(tmp_path: Path) -> None:
    with open_sink(tmp_path / "masks", "png", made_up(1), bundle_2d(), fps=25) as sink:
        sink.add(finished(1))
    again = open_sink(tmp_path / "masks", "png", made_up(1), bundle_2d(), fps=25)
    with pytest.raises(CannotWrite, match="something lies already"), again:
        pass


def test_a_dicom_seg_needs_dicom(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "seg.dcm", "dicom-seg", made_up(1), bundle_2d(), fps=25)
    with pytest.raises(InvalidSegmentation, match="no DICOM"), sink:
        pass


def test_a_video_shows_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    from medseg.volume.frames import open_frames, pixels_of

    with open_sink(tmp_path / "a.mp4", "video", made_up(3), bundle_2d(), fps=25) as sink:
        assert sink.wants_pictures
        for number in (1, 2, 3):
            sink.add(finished(number))
    shown = [pixels_of(frame.read()) for frame in open_frames(tmp_path / "a.mp4")]
    assert len(shown) == 3
    assert shown[0].shape == (*SIZE, 3)
